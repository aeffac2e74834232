"""Our short cut gives what python-socketio's packet class gives."""
from typing import Any, List

from hypothesis import given, strategies as st
import pytest
from socketio import packet

from redis_streams_adapter.clients.delivery import _encode_text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(
        st.text(), inner), max_leaves=10)


@given(st.sampled_from(['/', '/chat', '/a/b']), st.text(), st.lists(VALUES))
def test_same_as_a_packet(namespace: str, event: str,
                          args: List[Any]) -> None:
    data = [event, *args]
    expected = packet.Packet(
        packet.EVENT, namespace=namespace, data=data).encode()
    assert _encode_text(namespace, data) == expected


@pytest.mark.parametrize('value', [
    b'x', bytearray(b'x'), [b'x'], {'a': [1, {'b': b'x'}]}, object()])
def test_what_it_leaves_to_the_packet(value: Any) -> None:
    assert _encode_text('/', ['event', value]) is None
