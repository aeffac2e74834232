"""Who is in the cluster."""
import pytest

from redis_streams_adapter.protocol.membership import Membership

TIMEOUT = 10.0


@pytest.fixture
def members() -> Membership:
    return Membership(TIMEOUT)


def test_nobody_at_first(members: Membership) -> None:
    assert members.count('/') == 0
    assert members.nodes('/') == {}
    assert members.tick(1e9) == []


def test_who_is_heard_is_there(members: Membership) -> None:
    assert members.heard('/', 'a', 1.0)
    assert members.heard('/', 'b', 2.0)
    assert not members.heard('/', 'a', 3.0)
    assert members.nodes('/') == {'a': 3.0, 'b': 2.0}
    assert members.count('/') == 2


def test_who_leaves_is_gone_at_once(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    assert members.left('/', 'a')
    assert not members.left('/', 'a')
    assert members.count('/') == 0
    assert members.heard('/', 'a', 2.0)


def test_who_is_silent_is_dropped_once(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/', 'b', 5.0)
    assert members.tick(1.0 + TIMEOUT) == []
    assert members.tick(1.5 + TIMEOUT) == [('/', 'a')]
    assert members.tick(1.5 + TIMEOUT) == []
    assert members.nodes('/') == {'b': 5.0}


def test_each_sign_of_life_gives_the_whole_timeout(
        members: Membership) -> None:
    for now in range(0, 100, 9):
        members.heard('/', 'a', now)
        assert members.tick(now + TIMEOUT) == []


def test_refresh_gives_everybody_the_whole_timeout(
        members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/chat', 'b', 2.0)
    members.refresh(100.0)
    assert members.tick(100.0 + TIMEOUT) == []
    assert sorted(members.tick(100.5 + TIMEOUT)) == [
        ('/', 'a'), ('/chat', 'b')]


def test_namespaces_are_apart(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    members.heard('/chat', 'a', 5.0)
    members.heard('/chat', 'b', 5.0)
    assert (members.count('/'), members.count('/chat')) == (1, 2)
    assert members.left('/chat', 'a')
    assert members.nodes('/') == {'a': 1.0}
    assert members.tick(1.5 + TIMEOUT) == [('/', 'a')]
    assert members.nodes('/chat') == {'b': 5.0}


def test_a_namespace_lasts_as_long_as_its_members(
        members: Membership) -> None:
    """Names that nobody uses any more do not pile up."""
    for number in range(100):
        members.heard(f'/{number}', 'a', 1.0)
        members.heard(f'/{number}', 'b', 1.0)
    assert members.uids == {'a', 'b'}
    for number in range(50):
        members.left(f'/{number}', 'a')
        members.left(f'/{number}', 'b')
    assert len(members._seen) == 50
    members.tick(1.5 + TIMEOUT)
    assert members._seen == {} and members.uids == set()
    assert not members.left('/nowhere', 'a')


def test_what_is_told_can_be_kept(members: Membership) -> None:
    members.heard('/', 'a', 1.0)
    told = members.nodes('/')
    members.left('/', 'a')
    assert told == {'a': 1.0}
