"""Which server to connect to, from the answers of a cluster's members or of
Sentinels; they are played here."""
from typing import Any, Dict, List, Set, Tuple

import pytest

from redis_streams_adapter.stream.topology import Address, Members, Sentinels

A, B, C, D = (('host', port) for port in (1, 2, 3, 4))


class Silent(Exception):
    """The member does not answer."""


class NotTold(Exception):
    """No answer names the master."""


class Play:
    """Those who are asked.

    :param told: by address: what each replies. Others do not.
    """

    def __init__(self, told: Dict[Address, Any]) -> None:
        self.told = told
        self.commands: Set[Tuple[str, ...]] = set()
        #: Who was asked, in this order, and how many connections are open.
        self.asked: List[Address] = []
        self.open = 0

    def connect(self, address: Address) -> Any:
        play = self

        class Connection:
            def connect(self) -> None:
                play.asked.append(address)
                play.open += 1
                if address not in play.told:
                    raise Silent('no reply')

            def send_command(self, *command: str) -> None:
                play.commands.add(command)

            def read_response(self) -> Any:
                return play.told[address]

            def disconnect(self) -> None:
                play.open -= 1

        return Connection()

    def members(self, *addresses: Address) -> Members:
        return Members(self.connect, (Silent,), addresses)

    def sentinels(self, *addresses: Address, others: int = 0) -> Sentinels:
        return Sentinels(self.connect, (Silent,), addresses, NotTold,
                         'name', others)


# -- a cluster ---------------------------------------------------------------

def view(*masters: Address, replica: Address = D) -> Any:
    """A member's answer for a cluster with ten slots for each master."""
    return [[number * 10, number * 10 + 9,
             [host.encode(), port, b'id', []],
             [replica[0].encode(), replica[1], b'id', []]]
            for number, (host, port) in enumerate(masters)]


def test_the_master() -> None:
    play = Play({A: view(A, B)})
    members = play.members(A)
    assert members.master_of(0) == members.master_of(9) == A
    assert members.master_of(10) == B
    assert play.open == 0
    assert play.commands == {('CLUSTER', 'SLOTS')}


def test_nobody_has_the_slot() -> None:
    play = Play({A: view(A), B: []})
    assert play.members(A, B).master_of(10) is None
    assert play.open == 0


def test_the_next_one_knows_who_has_the_slot() -> None:
    play = Play({A: [], B: view(A)})
    for _ in range(20):
        assert play.members(A, B).master_of(5) == A


def test_nobody_answers() -> None:
    play = Play({})
    with pytest.raises(Silent):
        play.members(A, B).master_of(0)
    assert sorted(play.asked) == [A, B]
    assert play.open == 0


def test_those_that_others_told_of_are_asked() -> None:
    """Also replicas, which may be all that is left of it."""
    play = Play({A: view(A, B)})
    members = play.members(A)
    members.master_of(0)
    for address in (B, D):
        play.told = {address: view(address)}
        assert members.master_of(0) == address


def test_those_that_were_given_are_never_forgotten() -> None:
    play = Play({A: view(B)})
    members = play.members(A, C)
    members.master_of(0)
    play.told = {C: view(C)}
    assert members.master_of(0) == C


def test_a_server_that_knows_of_nobody_does_not_count() -> None:
    """One that was reset, or has left: its view is empty."""
    play = Play({A: view(A, B)})
    members = play.members(A)
    members.master_of(0)
    play.told = {A: []}
    assert members.master_of(0) is None
    play.told = {B: view(B)}
    assert members.master_of(0) == B


def test_who_was_silent_is_asked_last() -> None:
    play = Play({B: view(B)})
    members = play.members(A, B)
    for _ in range(20):
        members.master_of(0)
    assert play.asked.count(A) <= 1
    # And first again, or by chance, when it has answered.
    play.told = {A: view(A)}
    assert members.master_of(0) == A
    play.told = {A: view(A), B: view(A), D: view(A)}
    play.asked.clear()
    for _ in range(50):
        members.master_of(0)
    assert A in play.asked


def test_a_member_without_a_name_of_its_own() -> None:
    """One that has never heard of others says nothing, and one that may not
    tell its name says null: it is where it was asked."""
    for name in (b'', None):
        play = Play({A: [[0, 9, [name, 1, b'id']]]})
        assert play.members(A).master_of(0) == A


# -- Sentinels ---------------------------------------------------------------

def state(master: Address, flags: str = 'master', others: int = 2) -> Any:
    """A Sentinel's answer about a master."""
    host, port = master
    return [b'name', b'name', b'ip', host.encode(), b'port', b'%d' % port,
            b'flags', flags.encode(), b'num-other-sentinels', b'%d' % others]


def test_the_master_that_a_sentinel_tells_of() -> None:
    play = Play({A: state(C)})
    assert play.sentinels(A, B).master() == C
    assert play.commands == {('SENTINEL', 'MASTER', 'name')}
    assert play.open == 0


@pytest.mark.parametrize('flags', [
    'master,s_down', 's_down,master,disconnected', 'master,s_down,o_down'])
def test_another_sentinel_may_reach_the_master(flags: str) -> None:
    play = Play({A: state(C, flags), B: state(D)})
    for _ in range(20):
        assert play.sentinels(A, B).master() == D


def test_a_sentinel_that_is_alone_is_not_believed() -> None:
    play = Play({A: state(C, others=0), B: state(D, others=1)})
    for _ in range(20):
        assert play.sentinels(A, B, others=1).master() == D


def test_sentinels_are_asked_by_chance() -> None:
    """One that is cut off from the others names a former master."""
    play = Play({A: state(C), B: state(D)})
    sentinels = play.sentinels(A, B)
    assert {sentinels.master() for _ in range(50)} == {C, D}


def test_no_sentinel_tells_of_the_master() -> None:
    play = Play({A: state(C, 's_down,master'), C: state(C, others=1)})
    with pytest.raises(NotTold) as caught:
        play.sentinels(A, B, C, others=2).master()
    text = str(caught.value)
    assert "'name'" in text
    assert 'host:1: the master is down' in text
    assert 'host:2: no reply' in text
    assert 'host:3: it sees too few other Sentinels' in text
    assert play.open == 0
