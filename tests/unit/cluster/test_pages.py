"""Answers about many clients come in pages."""
import gc
import json
from time import thread_time
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List

import pytest

from redis_streams_adapter.clients import descriptions
from redis_streams_adapter.cluster import pages as module
from redis_streams_adapter.cluster.pages import answer_with_counts, \
    answer_with_sockets
from redis_streams_adapter.protocol.codec import Encoder
from redis_streams_adapter.protocol.events import Act
from redis_streams_adapter.protocol.messages import EVERYONE, FetchSockets, \
    FetchSocketsResponse


class World:
    """The parts of a process with this many clients."""

    def __init__(self, count: int, data: Any = None) -> None:
        self.clients = [(f's{number}', f'e{number}')
                        for number in range(count)]
        everyone = dict(self.clients)
        rooms: Dict[Any, Any] = {None: everyone, 'all': everyone}
        rooms.update({sid: {sid: eio} for sid, eio in self.clients})
        self.server = SimpleNamespace(
            manager=SimpleNamespace(rooms={'/': rooms}),
            environ={eio: {} for _, eio in self.clients},
            eio=SimpleNamespace(get_session=lambda eio: {'/': data or {}}))
        self.sent: List[FetchSocketsResponse] = []
        #: How often the requester is still crowded.
        self.crowded_for = 0
        #: Whether an answer cannot be put together of encoded parts.
        self.is_binary = False
        #: The encoded parts of an answer without pages.
        self.parts: List[str] = []
        self.steps: List[bool] = []

    @property
    def crowded(self) -> bool:
        self.crowded_for -= 1
        return self.crowded_for >= 0

    def reply(self, act: Act, message: Any) -> None:
        self.sent.append(message)

    def reply_in_parts(self, act: Act, request_id: str,
                       batches: Any) -> Any:
        for batch in batches:
            if batch is not None:
                # As bytes, as in an answer.
                self.parts.append(json.dumps(batch))
            yield False
        return not self.is_binary

    def encode_reply(self, act: Act, message: Any) -> Any:
        size = len(Encoder('me').encode('/', message)[-1])
        return size, lambda: self.sent.append(message)

    def work(self, **kwargs: Any) -> Iterator[bool]:
        message = FetchSockets(EVERYONE, 'r', **kwargs)
        act: Any = Act('/', 'other', message)
        me: Any = self
        if message.counts:
            return answer_with_counts(
                me, act, message, self.server, lambda value: True)
        return answer_with_sockets(
            me, act, message, self.server, self.clients, lambda value: True)

    def answer(self, **kwargs: Any) -> None:
        self.steps = list(self.work(**kwargs))

    def check_pages(self) -> None:
        """The pages are numbered, and only the last one is marked."""
        assert [each.page for each in self.sent] == [
            (number, number == len(self.sent) - 1)
            for number in range(len(self.sent))]

    @property
    def sids(self) -> List[str]:
        return [each['id'] for page in self.sent for each in page.sockets]


@pytest.mark.parametrize('count', [0, 1, 19, 20, 21, 1000])
def test_all_clients_are_described(count: int) -> None:
    world = World(count)
    world.answer(pages=True)
    world.check_pages()
    assert world.sids == [sid for sid, _ in world.clients]
    if count:
        assert world.sent[0].sockets[0]['rooms'] == ['all', 's0']


def test_pages_are_bounded() -> None:
    world = World(200, {'text': 'x' * 10_000})
    world.answer(pages=True)
    world.check_pages()
    assert world.sids == [sid for sid, _ in world.clients]
    sizes = [len(Encoder('me').encode('/', each)[-1]) for each in world.sent]
    assert max(sizes) <= module.PAGE_LIMIT


def test_client_that_fills_a_page() -> None:
    world = World(5, {'text': 'x' * module.PAGE_LIMIT})
    world.answer(pages=True)
    world.check_pages()
    assert [len(each.sockets) for each in world.sent if each.sockets] \
        == [1] * 5


@pytest.mark.parametrize('is_binary', [False, True])
@pytest.mark.parametrize('count', [0, 1, module.FIRST, 21, 100])
def test_without_pages(count: int, is_binary: bool) -> None:
    world = World(count)
    world.is_binary = is_binary
    world.answer()
    parts = [each['id'] for part in world.parts for each in json.loads(part)]
    expected = [sid for sid, _ in world.clients]
    assert parts == ([] if count <= module.FIRST else expected)
    if count <= module.FIRST or is_binary:
        response, = world.sent
        assert response.page is None
        assert world.sids == expected
    else:
        assert world.sent == []


@pytest.mark.parametrize('count, rooms', [(0, {}), (3, {'all': 3})])
def test_counts(count: int, rooms: Dict[str, int]) -> None:
    world = World(count)
    world.answer(pages=True, counts=True)
    world.check_pages()
    assert dict(world.sent[0].counts or ()) == rooms


def test_counts_of_many_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'ROOMS', 10)
    world = World(3)
    members = world.server.manager.rooms['/']
    expected = {'all': 3}
    for number in range(24):
        members[f'r{number}'] = {'s1': 'e1'}
        expected[f'r{number}'] = 1
    world.answer(pages=True, counts=True)
    world.check_pages()
    assert len(world.sent) == 3
    assert dict(pair for each in world.sent
                for pair in each.counts or ()) == expected


def test_no_server() -> None:
    world = World(0)
    world.server = None  # type: ignore[assignment]
    world.answer(pages=True)
    world.answer(pages=True, counts=True)
    assert [each.page for each in world.sent] == [(0, True)] * 2


@pytest.mark.parametrize('counts', [False, True])
def test_answer_waits_while_others_wait(counts: bool) -> None:
    world = World(3)
    world.crowded_for = 2
    world.answer(pages=True, counts=counts)
    assert world.steps[:2] == [True, True]
    world.check_pages()


@pytest.mark.parametrize('options', [{}, {'pages': True}, {'counts': True}])
def test_work_takes_small_steps(monkeypatch: pytest.MonkeyPatch,
                                options: Dict[str, bool]) -> None:
    monkeypatch.setattr(descriptions, 'STEP', 0.0)
    world = World(50)
    world.answer(**options)
    assert len(world.steps) > 50


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """The garbage collector leaves out the objects of other tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize('pages', [True, False])
@pytest.mark.parametrize('counts', [True, False])
def test_answer_for_many_clients_lets_others_run(
        frozen_heap: None, pages: bool, counts: bool) -> None:
    """Between two steps, other tasks of a server with green threads run. A
    step takes at most 20 ms of the processor; here the best of three answers,
    since the first one runs code for the first time."""
    world = World(10_000, {'name': 'x' * 50})
    rooms = world.server.manager.rooms['/']
    for number, client in enumerate(world.clients):
        for room in range(number % 5):
            rooms.setdefault(f'room{room}', {}).update([client])
    longest = []
    for _ in range(3):
        world.sent.clear()
        world.parts.clear()
        longest.append(0.0)
        work, begun = world.work(pages=pages, counts=counts), thread_time()
        for _ in work:
            longest[-1] = max(longest[-1], thread_time() - begun)
            begun = thread_time()
        longest[-1] = max(longest[-1], thread_time() - begun)
    assert len(world.sids) == (0 if counts or not pages else 10_000)
    assert len(world.parts) == (0 if counts or pages else 500)
    assert min(longest) < 0.02
