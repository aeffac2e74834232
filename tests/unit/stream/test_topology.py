"""A server is chosen from the answers of a cluster's members or of Sentinels,
which are simulated here."""
from typing import Any, Dict, List, Set, Tuple

import pytest

from redis_streams_adapter.stream.topology import Address, Members, Sentinels

A, B, C, D = (('host', port) for port in (1, 2, 3, 4))


class Silent(Exception):
    """The member does not answer."""


class NotNamed(Exception):
    """No answer names the master."""


class FakeNetwork:
    """Simulated members of a cluster, or Sentinels.

    :param replies: the reply of each address. Other addresses do not answer.
    """

    def __init__(self, replies: Dict[Address, Any]) -> None:
        self.replies = replies
        self.commands: Set[Tuple[str, ...]] = set()
        #: The addresses asked, in order, and the number of open connections.
        self.asked: List[Address] = []
        self.open = 0

    def connect(self, address: Address) -> Any:
        network = self

        class Connection:
            def connect(self) -> None:
                network.asked.append(address)
                network.open += 1
                if address not in network.replies:
                    raise Silent('no reply')

            def send_command(self, *command: str) -> None:
                network.commands.add(command)

            def read_response(self) -> Any:
                return network.replies[address]

            def disconnect(self) -> None:
                network.open -= 1

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
    network = FakeNetwork({A: view(A, B)})
    members = network.members(A)
    assert members.master_of(0) == members.master_of(9) == A
    assert members.master_of(10) == B
    assert network.open == 0
    assert network.commands == {('CLUSTER', 'SLOTS')}


def test_slot_without_a_master() -> None:
    network = FakeNetwork({A: view(A), B: []})
    assert network.members(A, B).master_of(10) is None
    assert network.open == 0


def test_next_member_knows_the_master() -> None:
    network = FakeNetwork({A: [], B: view(A)})
    for _ in range(20):
        assert network.members(A, B).master_of(5) == A


def test_no_member_answers() -> None:
    network = FakeNetwork({})
    with pytest.raises(Silent):
        network.members(A, B).master_of(0)
    assert sorted(network.asked) == [A, B]
    assert network.open == 0


def test_members_named_by_others_are_asked() -> None:
    """Replicas are asked, too. They may be all that is left of the cluster."""
    network = FakeNetwork({A: view(A, B)})
    members = network.members(A)
    members.master_of(0)
    for address in (B, D):
        network.replies = {address: view(address)}
        assert members.master_of(0) == address


def test_given_members_are_never_forgotten() -> None:
    network = FakeNetwork({A: view(B)})
    members = network.members(A, C)
    members.master_of(0)
    network.replies = {C: view(C)}
    assert members.master_of(0) == C


def test_member_with_an_empty_view_is_ignored() -> None:
    """A server that was reset, or has left, has an empty view."""
    network = FakeNetwork({A: view(A, B)})
    members = network.members(A)
    members.master_of(0)
    network.replies = {A: []}
    assert members.master_of(0) is None
    network.replies = {B: view(B)}
    assert members.master_of(0) == B


def test_silent_member_is_asked_last() -> None:
    network = FakeNetwork({B: view(B)})
    members = network.members(A, B)
    for _ in range(20):
        members.master_of(0)
    assert network.asked.count(A) <= 1
    # After an answer it is asked first again, or in random order.
    network.replies = {A: view(A)}
    assert members.master_of(0) == A
    network.replies = {A: view(A), B: view(A), D: view(A)}
    network.asked.clear()
    for _ in range(50):
        members.master_of(0)
    assert A in network.asked


def test_member_without_its_own_name() -> None:
    """A member that has never met others sends an empty name. One that may not
    reveal its name sends null. Its address is the one that was asked."""
    for name in (b'', None):
        network = FakeNetwork({A: [[0, 9, [name, 1, b'id']]]})
        assert network.members(A).master_of(0) == A


# -- Sentinels ---------------------------------------------------------------

def state(master: Address, flags: str = 'master', others: int = 2) -> Any:
    """A Sentinel's answer about a master."""
    host, port = master
    return [b'name', b'name', b'ip', host.encode(), b'port', b'%d' % port,
            b'flags', flags.encode(), b'num-other-sentinels', b'%d' % others]


def test_master_named_by_a_sentinel() -> None:
    network = FakeNetwork({A: state(C)})
    assert network.sentinels(A, B).master() == C
    assert network.commands == {('SENTINEL', 'MASTER', 'name')}
    assert network.open == 0


@pytest.mark.parametrize('flags', [
    'master,s_down', 's_down,master,disconnected', 'master,s_down,o_down'])
def test_other_sentinel_that_reaches_the_master(flags: str) -> None:
    network = FakeNetwork({A: state(C, flags), B: state(D)})
    for _ in range(20):
        assert network.sentinels(A, B).master() == D


def test_isolated_sentinel_is_not_believed() -> None:
    network = FakeNetwork({A: state(C, others=0), B: state(D, others=1)})
    for _ in range(20):
        assert network.sentinels(A, B, others=1).master() == D


def test_sentinels_are_asked_in_random_order() -> None:
    """A Sentinel that is cut off from the others names a former master."""
    network = FakeNetwork({A: state(C), B: state(D)})
    sentinels = network.sentinels(A, B)
    assert {sentinels.master() for _ in range(50)} == {C, D}


def test_no_sentinel_names_the_master() -> None:
    network = FakeNetwork({A: state(C, 's_down,master'),
                           C: state(C, others=1)})
    with pytest.raises(NotNamed) as caught:
        network.sentinels(A, B, C, others=2).master()
    text = str(caught.value)
    assert "'name'" in text
    assert 'host:1: the master is down' in text
    assert 'host:2: no reply' in text
    assert 'host:3: it sees too few other Sentinels' in text
    assert network.open == 0
