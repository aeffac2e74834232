"""The choice of a server, from the answers of a cluster's members or of
Sentinels, which are simulated here."""
from typing import Any, Dict, List, Set, Tuple

import pytest

from redis_streams_adapter.stream.topology import Address, Members, Sentinels

A, B, C, D = (('host', port) for port in (1, 2, 3, 4))


class Silent(Exception):
    """The member does not answer."""


class NotNamed(Exception):
    """No answer names the master."""


class Play:
    """The simulated members.

    :param replies: the reply of each address. Others do not answer.
    """

    def __init__(self, replies: Dict[Address, Any]) -> None:
        self.replies = replies
        self.commands: Set[Tuple[str, ...]] = set()
        #: The addresses asked, in order, and the number of open connections.
        self.asked: List[Address] = []
        self.open = 0

    def connect(self, address: Address) -> Any:
        play = self

        class Connection:
            def connect(self) -> None:
                play.asked.append(address)
                play.open += 1
                if address not in play.replies:
                    raise Silent('no reply')

            def send_command(self, *command: str) -> None:
                play.commands.add(command)

            def read_response(self) -> Any:
                return play.replies[address]

            def disconnect(self) -> None:
                play.open -= 1

        return Connection()

    def members(self, *addresses: Address) -> Members:
        return Members(self.connect, (Silent,), addresses)

    def sentinels(self, *addresses: Address, others: int = 0) -> Sentinels:
        return Sentinels(self.connect, (Silent,), addresses, NotNamed,
                         'name', others)


# -- a cluster ---------------------------------------------------------------

def view(*masters: Address, replica: Address = D) -> Any:
    """A member's answer for a cluster with ten slots for each master."""
    return [[number * 10, number * 10 + 9,
             [host.encode(), port, b'id', []],
             [replica[0].encode(), replica[1], b'id', []]]
            for number, (host, port) in enumerate(masters)]


def test_master_of_a_slot() -> None:
    play = Play({A: view(A, B)})
    members = play.members(A)
    assert members.master_of(0) == members.master_of(9) == A
    assert members.master_of(10) == B
    assert play.open == 0
    assert play.commands == {('CLUSTER', 'SLOTS')}


def test_slot_without_a_master() -> None:
    play = Play({A: view(A), B: []})
    assert play.members(A, B).master_of(10) is None
    assert play.open == 0


def test_next_member_knows_the_master() -> None:
    play = Play({A: [], B: view(A)})
    for _ in range(20):
        assert play.members(A, B).master_of(5) == A


def test_no_member_answers() -> None:
    play = Play({})
    with pytest.raises(Silent):
        play.members(A, B).master_of(0)
    assert sorted(play.asked) == [A, B]
    assert play.open == 0


def test_members_named_by_others_are_asked() -> None:
    """Including replicas, which may be all that is left of the cluster."""
    play = Play({A: view(A, B)})
    members = play.members(A)
    members.master_of(0)
    for address in (B, D):
        play.replies = {address: view(address)}
        assert members.master_of(0) == address


def test_given_members_are_never_forgotten() -> None:
    play = Play({A: view(B)})
    members = play.members(A, C)
    members.master_of(0)
    play.replies = {C: view(C)}
    assert members.master_of(0) == C


def test_member_with_an_empty_view_is_ignored() -> None:
    """A server that was reset, or has left, has an empty view."""
    play = Play({A: view(A, B)})
    members = play.members(A)
    members.master_of(0)
    play.replies = {A: []}
    assert members.master_of(0) is None
    play.replies = {B: view(B)}
    assert members.master_of(0) == B


def test_silent_member_is_asked_last() -> None:
    play = Play({B: view(B)})
    members = play.members(A, B)
    for _ in range(20):
        members.master_of(0)
    assert play.asked.count(A) <= 1
    # And first again, or at random, once it has answered.
    play.replies = {A: view(A)}
    assert members.master_of(0) == A
    play.replies = {A: view(A), B: view(A), D: view(A)}
    play.asked.clear()
    for _ in range(50):
        members.master_of(0)
    assert A in play.asked


def test_member_without_its_own_name() -> None:
    """A member that has never met others sends an empty name, one that may not
    reveal its name sends null: its address is the one asked."""
    for name in (b'', None):
        play = Play({A: [[0, 9, [name, 1, b'id']]]})
        assert play.members(A).master_of(0) == A


# -- Sentinels ---------------------------------------------------------------

def state(master: Address, flags: str = 'master', others: int = 2) -> Any:
    """A Sentinel's answer about a master."""
    host, port = master
    return [b'name', b'name', b'ip', host.encode(), b'port', b'%d' % port,
            b'flags', flags.encode(), b'num-other-sentinels', b'%d' % others]


def test_master_named_by_a_sentinel() -> None:
    play = Play({A: state(C)})
    assert play.sentinels(A, B).master() == C
    assert play.commands == {('SENTINEL', 'MASTER', 'name')}
    assert play.open == 0


@pytest.mark.parametrize('flags', [
    'master,s_down', 's_down,master,disconnected', 'master,s_down,o_down'])
def test_other_sentinel_that_reaches_the_master(flags: str) -> None:
    play = Play({A: state(C, flags), B: state(D)})
    for _ in range(20):
        assert play.sentinels(A, B).master() == D


def test_isolated_sentinel_is_not_believed() -> None:
    play = Play({A: state(C, others=0), B: state(D, others=1)})
    for _ in range(20):
        assert play.sentinels(A, B, others=1).master() == D


def test_sentinels_are_asked_in_random_order() -> None:
    """A Sentinel that is cut off from the others names a former master."""
    play = Play({A: state(C), B: state(D)})
    sentinels = play.sentinels(A, B)
    assert {sentinels.master() for _ in range(50)} == {C, D}


def test_no_sentinel_names_the_master() -> None:
    play = Play({A: state(C, 's_down,master'), C: state(C, others=1)})
    with pytest.raises(NotNamed) as caught:
        play.sentinels(A, B, C, others=2).master()
    text = str(caught.value)
    assert "'name'" in text
    assert 'host:1: the master is down' in text
    assert 'host:2: no reply' in text
    assert 'host:3: it sees too few other Sentinels' in text
    assert play.open == 0
