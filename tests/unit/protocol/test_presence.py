"""Sets of namespaces, and how an entry names them."""
from typing import Any, List

import pytest

from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.protocol.codec import decode, Encoder, open_envelope
from redis_streams_adapter.protocol.messages import AdapterClose, Heartbeat, \
    InitialHeartbeat
from redis_streams_adapter.protocol.presence import EMPTY, MAX_DIGEST, \
    MAX_HOST, NamespaceSet, PAGE_BYTES, pages, Presence, process_field, \
    Question, read_names, read_presence, read_process, read_question

MANY = [f'/tenant-{number}' for number in range(5000)]


def extra_of(message: Any) -> Any:
    return open_envelope(Encoder('a').encode('/', message)).extra


# -- sets --------------------------------------------------------------------

def test_digest_names_the_set() -> None:
    """However it came about."""
    one = NamespaceSet().plus(['/', '/chat']).plus(['/news', '/'])
    other = NamespaceSet().plus(['/news', '/x']).plus(
        ['/chat', '/']).minus(['/x', '/y'])
    assert one.names == other.names == {'/', '/chat', '/news'}
    assert one.digest == other.digest != EMPTY
    assert one.minus(['/']).digest != one.digest
    assert one.minus(['/', '/chat', '/news']).digest == EMPTY


def test_set_does_not_change() -> None:
    one = NamespaceSet().plus(['/'])
    assert one.plus(['/']) is one and one.minus(['/chat']) is one
    one.plus(['/chat'])
    assert one.names == {'/'}


def test_any_name_has_a_digest() -> None:
    """JSON may hold half of a surrogate pair."""
    assert NamespaceSet().plus(['/\ud800']).digest != EMPTY


# -- entries -----------------------------------------------------------------

@pytest.mark.parametrize('presence', [
    Presence('0f'), Presence(EMPTY), Presence('1', ('/', '/ä "x"')),
    Presence('1', ('/',), ('/chat',), True, True)])
@pytest.mark.parametrize('kind', [InitialHeartbeat, Heartbeat, AdapterClose])
def test_presence_travels(presence: Presence, kind: Any) -> None:
    message = kind(presence=presence)
    assert read_presence(extra_of(message), 100) == presence
    # Whatever else the entry says is not affected.
    assert decode(open_envelope(Encoder('a').encode('/', message))) == kind()


def test_question_travels() -> None:
    extra = extra_of(Heartbeat(presence=Question('uid', 'digest')))
    assert read_question(extra) == Question('uid', 'digest')
    assert read_presence(extra, 100) is None


def test_entry_of_nodejs_says_nothing() -> None:
    extra = extra_of(Heartbeat())
    assert read_presence(extra, 100) is read_question(extra) is None


@pytest.mark.parametrize('fields', [
    [b'presence', b'\xff'], [b'presence', b'x' * (MAX_DIGEST + 1)],
    [b'presence', b'1', b'joins', b'{}'], [b'presence', b'1', b'joins', b'['],
    [b'presence', b'1', b'joins', b'[1]'],
    [b'presence', b'1', b'leaves', b'[""]'],
    [b'presence', b'1', b'leaves', b'["%s"]' % (b'x' * 101)]])
def test_malformed_presence(fields: List[bytes]) -> None:
    extra = dict(zip(fields[::2], fields[1::2]))
    with pytest.raises(DecodeError):
        read_presence(extra, 100)


@pytest.mark.parametrize('extra', [
    {b'wants': b'\xff'},
    {b'wants': b'a', b'knows': b'x' * (MAX_DIGEST + 1)}])
def test_malformed_question(extra: Any) -> None:
    with pytest.raises(DecodeError):
        read_question(extra)


def test_own_names() -> None:
    extra = dict(zip(*[iter(Presence('1', ('/', '/ä')).fields())] * 2))
    assert read_names(extra[b'joins']) == ['/', '/ä']
    assert read_names(extra.get(b'leaves')) == []


# -- pages -------------------------------------------------------------------

def test_long_list_has_pages() -> None:
    parts = list(pages(MANY))
    assert [name for part in parts for name in part] == MANY
    assert 1 < len(parts) < 10
    for part in parts:
        assert len(Presence('1', part).fields()[3]) < 2 * PAGE_BYTES


def test_short_list_has_one_page() -> None:
    assert list(pages(['/', '/chat'])) == [('/', '/chat')]
    assert list(pages([])) == []


# -- where a server runs -----------------------------------------------------

def test_process_is_said_with_the_digest() -> None:
    process = process_field('vm', 7)
    assert process == b'7@vm'
    assert Presence('x').fields(process)[-2:] == (b'process', process)
    assert b'process' not in Presence(EMPTY).fields(process)
    assert b'process' not in Presence('x').fields()
    assert b'process' not in Question('a', 'x').fields(process)
    # At rest, this is what it costs in each heartbeat.
    assert sum(map(len, Presence('x').fields(process))) \
        - sum(map(len, Presence('x').fields())) <= 12


@pytest.mark.parametrize('host, pid', [('vm', 7), ('ü.example', 4194304)])
def test_process_is_read(host: str, pid: int) -> None:
    assert read_process(process_field(host, pid)) == (host, pid)


def test_process_that_is_not_said() -> None:
    assert read_process(None) == (None, None)
    assert read_process(b'7@') == (None, 7)


def test_name_of_a_host_may_be_long() -> None:
    host, pid = read_process(process_field('ü' * 1000, 7))
    assert host == 'ü' * (MAX_HOST // 2) and pid == 7


@pytest.mark.parametrize('raw', [
    b'', b'@vm', b'x@vm', b'-1@vm', b'9' * 20 + b'@vm', b'7@\xff',
    b'7@' + b'x' * (MAX_HOST + 1), '\u0663@vm'.encode()])
def test_malformed_process(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        read_process(raw)
