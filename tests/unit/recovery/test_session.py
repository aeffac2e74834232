"""The ``auth`` of a returning client and its session."""
import base64
from typing import Any, Dict, Optional

import msgpack
import pytest
from hypothesis import given, strategies as st

from redis_streams_adapter.protocol.application import Application
from redis_streams_adapter.protocol.content_parts import MAX_NAME
from redis_streams_adapter.errors import DecodeError
from redis_streams_adapter.recovery.session import check_offset, check_pid, \
    Gap, INVALID_OFFSET, load_session, OFFSET_NOT_FOUND, Origin, Outcome, \
    REASONS, Refusal, Return, Session, split_auth, start_of, to_fields, \
    UNKNOWN_SESSION
from redis_streams_adapter.protocol.position import Position, START


OURS = Application('socket.io', 0)
THEIRS = Application('other', 0)
OTHER_DATABASE = Application('socket.io', 1)


def reason_of(caught: Any) -> str:
    return str(caught.value.reason)


# -- auth --------------------------------------------------------------------

@pytest.mark.parametrize('data', [
    None, {}, {'offset': '1-0'}, {'token': 'x'}, 'pid', ['pid'], 5, True])
def test_auth_without_pid_reaches_application(data: Any) -> None:
    """The application gets the client's whole ``auth``."""
    assert split_auth(data) == (None, data)


@pytest.mark.parametrize('data, shown, rest', [
    ({'pid': 'p'}, Return('p', None), None),
    ({'pid': 'p', 'offset': '1-0'}, Return('p', '1-0'), None),
    ({'pid': 'p', 'offset': '1-0', 'token': 'x'}, Return('p', '1-0'),
     {'token': 'x'}),
    ({'pid': None, 'token': 0}, Return(None, None), {'token': 0}),
    ({'pid': ['p'], 'offset': {}}, Return(['p'], {}), None)])
def test_auth_with_pid_asks_for_recovery(data: Any, shown: Return,
                                         rest: Any) -> None:
    before = dict(data)
    assert split_auth(data) == (shown, rest)
    assert data == before


@pytest.mark.parametrize('pid', [
    'p', 'ü' * 10, 'x' * MAX_NAME, '\0', 'sio:session:'])
def test_valid_pid_is_read(pid: str) -> None:
    assert check_pid(pid) == pid


@pytest.mark.parametrize('pid', [
    None, '', 5, True, b'p', ['p'], {}, 'x' * (MAX_NAME + 1), '\ud800',
    'a\udfff'])
def test_invalid_pid_is_ignored(pid: Any) -> None:
    with pytest.raises(Refusal) as caught:
        check_pid(pid)
    assert reason_of(caught) == UNKNOWN_SESSION


@pytest.mark.parametrize('offset', [
    '1-0', '0-0', '0-1', '1700000000000-12', '18446744073709551615-0',
    '0-18446744073709551615'])
def test_valid_offset_is_read(offset: str) -> None:
    position = check_offset(offset)
    assert position == tuple(map(int, offset.split('-')))
    assert str(position) == offset


def test_missing_offset_is_none() -> None:
    assert check_offset(None) is None


@pytest.mark.parametrize('offset', [
    '', '-', '1', '1-', '-1', '1-0-0', ' 1-0', '1-0 ', '1-0\n', '\n1-0',
    '+1-0', '1--1', '-1-0', '0x1-0', '1.0-0', '1e3-0', '1_0-0', 'a-b',
    '(1-0', '$', '*', '>', '+', '1-*', '1-0\0', '\u0661-0', '1-\u0660',
    '\uff11-0', '1\u20130', '18446744073709551616-0',
    '0-18446744073709551616', '9' * 20 + '-0', '9' * 21 + '-0',
    '0' * 21 + '-0', '1-' + '0' * 21, '1-0' * 1000,
    b'1-0', Position(1), 1, 1.5, 0, True, False, [], ['1-0'], {}, {'a': 1},
    ('1', '0')],
    ids=lambda offset: repr(offset)[:30])
def test_invalid_offset_is_refused(offset: Any) -> None:
    with pytest.raises(Refusal) as caught:
        check_offset(offset)
    assert reason_of(caught) == INVALID_OFFSET


@given(st.text() | st.from_regex(r'[0-9]{0,22}-?[0-9]{0,22}'))
def test_offset_is_position_of_redis(offset: str) -> None:
    try:
        position = check_offset(offset)
    except Refusal as exc:
        assert exc.reason == INVALID_OFFSET
    else:
        assert position is not None
        assert all(0 <= number < 2**64 for number in position)


def test_reasons_are_documented() -> None:
    """The documentation names exactly these."""
    assert REASONS == (
        'unknown-session', 'offset-not-found', 'invalid-offset',
        'too-many-missed', 'redis-unavailable', 'rejected')
    assert Outcome(True) == (True, None)
    assert str(Refusal(UNKNOWN_SESSION)) == UNKNOWN_SESSION


# -- sessions ----------------------------------------------------------------

def encoded(fields: Any) -> bytes:
    return base64.b64encode(msgpack.packb(fields))


#: A session as Node.js writes it.
NODES: Dict[str, Any] = {'sid': 's', 'pid': 'p', 'rooms': ['s', 'x'],
                         'data': {'a': 1}}

TEXT = st.text(st.characters(exclude_categories=['Cs']))
NAMES = TEXT.filter(bool)
NUMBERS = st.integers(-2**63, 2**64 - 1)
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(TEXT, inner, max_size=3), max_leaves=10)
POSITIONS = st.builds(
    lambda milliseconds, number: Position(milliseconds, number),
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
SESSIONS = st.builds(
    Session, sid=NAMES, pid=NAMES,
    rooms=st.lists(TEXT | NUMBERS, max_size=5).map(tuple), data=DATA,
    namespace=NAMES, claim=TEXT, upto=st.none() | POSITIONS,
    sent=st.none() | POSITIONS, flask=st.none() | TEXT,
    gap=st.none() | st.builds(Gap, st.none() | POSITIONS, POSITIONS),
    since=st.none() | POSITIONS, obeyed=st.none() | POSITIONS,
    own=st.none() | st.builds(
        Origin, st.binary(min_size=8, max_size=8).map(
            lambda raw: raw.hex().encode()), st.integers(0, 2**63)),
    ahead=st.none() | TEXT, final=st.booleans(), anonymous=st.just(False))


@given(SESSIONS)
def test_session_survives_encoding(session: Session) -> None:
    assert session.namespace is not None
    assert load_session(encoded(to_fields(session, OURS)), session.pid,
                        session.namespace, OURS) == session


def test_node_js_reads_session() -> None:
    """Node.js reads the keys that it knows, and ignores those of this
    package."""
    fields = to_fields(Session('s', 'p', ('s', 7), {'a': 1}, '/', 'c'), OURS)
    assert {key: fields[key] for key in NODES} == {
        'sid': 's', 'pid': 'p', 'rooms': ['s', 7], 'data': {'a': 1}}
    assert set(fields) - set(NODES) == {'nsp', 'claim', 'app'}


@pytest.mark.parametrize('fields, data', [
    (NODES, {'a': 1}), ({**NODES, 'data': None}, None),
    ({key: NODES[key] for key in ('sid', 'pid', 'rooms')}, None),
    ({**NODES, 'unknown': object}, {'a': 1})])
def test_session_of_node_js_is_read(fields: Any, data: Any) -> None:
    """It has no namespace and no application."""
    if 'unknown' in fields:
        fields = {**fields, 'unknown': [{'of': b'another version'}]}
    assert load_session(encoded(fields), 'p', '/any', OURS) == Session(
        's', 'p', ('s', 'x'), data, '/any', anonymous=True)


@pytest.mark.parametrize('changes', [
    {'sid': None}, {'sid': ''}, {'sid': 5}, {'sid': b's'},
    {'sid': 'x' * (MAX_NAME + 1)},
    {'pid': 'another'}, {'pid': None}, {'pid': b'p'}, {'pid': ['p']},
    {'rooms': None}, {'rooms': 's'}, {'rooms': {'s': 1}},
    {'rooms': ['s', None]}, {'rooms': [['s']]}, {'rooms': [True]},
    {'rooms': [1.5]}, {'rooms': [b's']}, {'rooms': [{}]},
    {'nsp': '/other'}, {'nsp': None}, {'nsp': ''}, {'nsp': b'/'},
    {'claim': None}, {'claim': 5}, {'claim': b'c'}, {'claim': []},
    {'flask': 5}, {'flask': {}}, {'flask': b'{}'},
    {'upto': 5}, {'upto': '5'}, {'upto': Position(5)}, {'upto': '$'},
    {'upto': '(1-0'}, {'sent': False}, {'sent': 'x'}, {'sent': ['1-0']},
    {'upto': '99999999999999999999-0'}, {'since': ''}, {'since': 5},
    {'since': '+'}, {'gap': []}, {'gap': '1-0'}, {'gap': ['1-0']},
    {'gap': [None, None]}, {'gap': ['1-0', None]}, {'gap': [5, '1-0']},
    {'gap': ['x', '1-0']}, {'gap': ['1-0', '2-0', '3-0']},
    {'gap': {'1-0': '2-0'}}, {'obeyed': 5}, {'obeyed': '5'}, {'own': 5},
    {'own': []}, {'own': ['w']}, {'own': ['w', '5']}, {'own': ['w', True]},
    {'own': [b'w', 5]}, {'own': ['w', 5, 6]}, {'own': {'w': 5}},
    {'own': ['\xfc', 5]}, {'ahead': 5}, {'ahead': Position(1)},
    {'app': THEIRS.name}, {'app': OTHER_DATABASE.name},
    {'app': ''}, {'app': 0}, {'app': False}, {'app': []},
    {'app': OURS.name.encode()}], ids=repr)
def test_invalid_session_is_refused(changes: Dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        load_session(encoded({**NODES, **changes}), 'p', '/', OURS)


@pytest.mark.parametrize('missing', ['sid', 'pid', 'rooms'])
def test_incomplete_session_is_refused(missing: str) -> None:
    fields = {key: value for key, value in NODES.items() if key != missing}
    with pytest.raises(DecodeError):
        load_session(encoded(fields), 'p', '/', OURS)


@pytest.mark.parametrize('raw', [
    b'', b'nonsense', b'\xff\xfe', b'{"sid":"s"}', b'gA', b'gA==!',
    encoded(None), encoded([]), encoded('p'), encoded(5),
    base64.b64encode(b'\xc1'),
    base64.b64encode(b'\x91' * 5000 + b'\x01'),
    base64.b64encode(msgpack.packb(msgpack.ExtType(5, b'x'))),
    base64.b64encode(b'cposix\nsystem\n(S"true"\ntR.')],
    ids=lambda raw: repr(raw)[:30])
def test_hostile_bytes_are_refused(raw: bytes) -> None:
    """One of them is a pickle. No code is ever executed."""
    with pytest.raises(DecodeError):
        load_session(raw, 'p', '/', OURS)


@given(st.binary() | st.binary().map(base64.b64encode)
       | (DATA | st.dictionaries(
           st.sampled_from([
                'sid', 'pid', 'rooms', 'data', 'nsp', 'claim', 'upto',
                'sent', 'since', 'gap', 'flask', 'obeyed', 'own', 'ahead',
                'final', 'app']),
           DATA | st.just('p') | st.lists(TEXT))).map(encoded))
def test_random_bytes_are_refused_or_read(raw: bytes) -> None:
    try:
        session = load_session(raw, 'p', '/', OURS)
    except DecodeError:
        return
    assert session.pid == 'p' and session.namespace == '/'
    assert isinstance(session.sid, str) and session.sid
    assert isinstance(session.claim, str)
    assert all(type(room) in (str, int) for room in session.rooms)


# -- the start of a replay ---------------------------------------------------

def session(*rooms: Any, upto: Optional[bytes] = START,
            sent: Optional[bytes] = None,
            gap: Optional[Gap] = None,
            since: Optional[bytes] = None) -> Session:
    return Session('s', 'p', rooms, {}, '/', 'c', upto, sent, None, gap,
                   since, upto)


@pytest.mark.parametrize('upto, sent, offset, expected', [
    # The client has received all events up to there.
    (Position(9), Position(3), Position(3), (Position(9), False)),
    (Position(9), None, None, (Position(9), False)),
    # It has received more, or less.
    (Position(9), Position(3), Position(12), (Position(12), True)),
    (Position(9), Position(3), Position(2), (Position(2), True)),
    (Position(9), None, Position(12), (Position(12), True)),
    # A session of Node.js has neither field.
    (None, None, Position(3), (Position(3), True))])
def test_replay_starts_at_offset(upto: Any, sent: Any, offset: Any,
                                 expected: Any) -> None:
    assert start_of(session(upto=upto, sent=sent), offset) == expected


@pytest.mark.parametrize('offset, expected', [
    # The client was sent no event for a long time, then many, all to a
    # half-open connection.
    (Position(2), (Position(7), False)),
    # Some of them arrived.
    (Position(8), (Position(8), True)), (Position(9), (Position(10), False)),
    (Position(1), (Position(1), True)), (Position(11), (Position(11), True))])
def test_gap_moves_start_of_replay(offset: bytes, expected: Any) -> None:
    known = session(upto=Position(10), sent=Position(9),
                    gap=Gap(Position(2), Position(7)))
    assert start_of(known, offset) == expected


def test_replay_starts_at_session_without_received_event() -> None:
    """The client's connection was half open from the beginning."""
    known = session(upto=Position(10), sent=Position(9),
                    gap=Gap(None, Position(7)),
                    since=Position(1))
    assert start_of(known, None) == (Position(7), False)


def test_offset_before_session_is_ignored() -> None:
    """The client sends another client's offset, or an invented one."""
    known = session(upto=Position(30), sent=Position(20), since=Position(9))
    for offset in Position(1), Position(8, 9):
        with pytest.raises(Refusal) as caught:
            start_of(known, offset)
        assert reason_of(caught) == OFFSET_NOT_FOUND
    for offset in Position(9), Position(10), Position(100):
        assert start_of(known, offset) == (offset, True)


@pytest.mark.parametrize('upto, sent', [
    # The client has not received the event that was sent to it, and maybe not
    # the one before either.
    (Position(9), Position(3)),
    (None, None)])
def test_unknown_position_is_refused(upto: Any, sent: Any) -> None:
    with pytest.raises(Refusal) as caught:
        start_of(session(upto=upto, sent=sent), None)
    assert reason_of(caught) == OFFSET_NOT_FOUND
