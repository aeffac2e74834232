"""The uid under which a process writes."""
import threading
from typing import Any, List

import pytest

from redis_streams_adapter.protocol.codec import Encoder, open_envelope
from redis_streams_adapter.errors import OutboxFullError
from redis_streams_adapter.protocol.messages import AdapterClose, Broadcast, \
    EMITTER_UID, Heartbeat, InitialHeartbeat
from redis_streams_adapter.stream.outbox import Capacity, Outbox
from redis_streams_adapter.protocol.sender import Signature

HELLO = Broadcast(('hello',))


@pytest.fixture
def signature() -> Signature:
    return Signature()


def fields(message: Any, namespace: str = '/', uid: str = 'me') -> Any:
    return Encoder(uid).encode(namespace, message)


def uid_of(signed: Any) -> str:
    return open_envelope(signed).uid


def test_before_and_after(signature: Signature) -> None:
    assert uid_of(signature(fields(HELLO))) == EMITTER_UID
    assert not signature.joined('/')
    assert uid_of(signature(fields(InitialHeartbeat()))) == 'me'
    assert signature.joined('/')
    for message in (HELLO, Heartbeat(), InitialHeartbeat(), AdapterClose()):
        assert uid_of(signature(fields(message))) == 'me'
    assert not signature.joined('/')
    for message in (HELLO, Heartbeat(), AdapterClose()):
        assert uid_of(signature(fields(message))) == EMITTER_UID


def test_only_the_uid_changes(signature: Signature) -> None:
    before = fields(Broadcast(('hello', {'x': 1})), '/chat')
    after = signature(before)
    assert after[0] == b'uid' and after[2:] == before[2:]
    # An unchanged entry is not copied.
    signature(fields(InitialHeartbeat(), '/chat'))
    assert signature(before) is before


def test_namespaces_are_separate(signature: Signature) -> None:
    signature(fields(InitialHeartbeat(), '/chat'))
    assert uid_of(signature(fields(HELLO, '/'))) == EMITTER_UID
    assert uid_of(signature(fields(HELLO, '/chat'))) == 'me'


def test_question_does_not_join(signature: Signature) -> None:
    question = fields(InitialHeartbeat(asks=True), uid=EMITTER_UID)
    assert signature(question) is question
    assert not signature.joined('/')
    assert uid_of(signature(fields(HELLO))) == EMITTER_UID
    # Neither does it end a membership.
    signature(fields(InitialHeartbeat()))
    signature(question)
    signature(fields(AdapterClose(), uid=EMITTER_UID))
    assert signature.joined('/')


def test_refused_entry_does_not_join(signature: Signature) -> None:
    outbox = Outbox(Capacity(1, 10_000), signature)
    outbox.put(fields(HELLO))
    with pytest.raises(OutboxFullError):
        outbox.put(fields(InitialHeartbeat()), numbered=False)
    assert not signature.joined('/')


def test_order_of_the_outbox_decides(signature: Signature) -> None:
    """Tasks encode while others join and leave: the node's uid is in every
    entry between an arrival and its goodbye, and in no other."""
    outbox = Outbox(Capacity(100_000, 1 << 30), signature)
    over = threading.Event()
    emitted = threading.Event()

    def emit() -> None:
        while not over.is_set():
            # However fast this is, there is room for the test's entries.
            if len(outbox) < 90_000:
                outbox.put(fields(HELLO))
            emitted.set()

    threads = [threading.Thread(target=emit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        for message in (InitialHeartbeat(), AdapterClose()):
            emitted.clear()
            emitted.wait(10)
            outbox.put(fields(message), numbered=False)
    over.set()
    for thread in threads:
        thread.join()
    member, seen = False, []
    for pending in outbox:
        envelope = open_envelope(pending.fields)
        if envelope.type == InitialHeartbeat.type:
            member = True
        assert (envelope.uid == 'me') == member
        seen.append(member)
        if envelope.type == AdapterClose.type:
            member = False
    assert set(seen) == {True, False}


def uids(outbox: Outbox) -> List[str]:
    return [open_envelope(pending.fields).uid for pending in outbox]


def test_without_a_signature() -> None:
    outbox = Outbox(Capacity(10, 10_000))
    outbox.put(fields(HELLO))
    assert uids(outbox) == ['me']
