"""The reader's first position: before all entries stored since a local client
may have learned that it is connected, in whatever state Redis was."""
import itertools
from typing import Any, Iterator, List, Tuple

import pytest
from hypothesis import given, settings, strategies as st

from redis_streams_adapter.losses import TRIMMED
from redis_streams_adapter.stream import reader as reader_module
from redis_streams_adapter.protocol.position import START
from redis_streams_adapter.protocol.transport import Ends, Entry, Unavailable

from ..driving import UntilDone
from redis_streams_adapter.testing.stream import CLOCK_START, FakeLink, \
    FakeStream, Fault
from ..readings import BLOCK, Clock, MAX_LEN, put, Readings

#: The reader's calls that wait for a reply.
OPERATIONS = ('connect', 'time', 'ends', 'read')


class World:
    """A process and a server whose clocks both advance while calls wait.

    :param delays: the seconds that each command and each reply take, in turn;
                   none once they are used up.
    :param max_len: the maximum length of the stream.
    """

    def __init__(self, delays: Any = (), max_len: int = MAX_LEN) -> None:
        self.stream = FakeStream(max_len)
        self.clock = Clock()
        self._begun = self.clock.now
        self._delays = iter(delays)
        #: What others store, and when: seconds from now, in order.
        self.due: List[Tuple[float, int]] = []
        self.readings = Readings(self.stream)
        self.readings.since = self.clock.now
        self.readings.reader._open_link = lambda: SlowLink(self)

    @property
    def now(self) -> float:
        """The seconds that have passed."""
        return self.clock.now - self._begun

    def wait(self) -> None:
        """A command or a reply is in transit."""
        self.pass_time(next(self._delays, 0.0))

    def pass_time(self, seconds: float) -> None:
        """Let others store what is due by then."""
        end = self.now + seconds
        while self.due and self.due[0][0] <= end:
            moment, number = self.due.pop(0)
            self._set(moment)
            put(self.stream, number)
        self._set(end)

    def read_all(self) -> None:
        """Let the reader read what others store now and later."""
        self.readings.idle()
        self.pass_time(300.0)
        self.readings.idle()

    def _set(self, moment: float) -> None:
        self.clock.now = self._begun + moment
        # Like Redis: in whole milliseconds, rounded down.
        self.stream.clock = CLOCK_START + int(moment * 1000 + 1e-6)


class SlowLink(FakeLink):
    """A link whose commands and replies take time."""

    def __init__(self, world: World) -> None:
        super().__init__(world.stream)
        self._world = world

    def connect(self) -> None:
        self._world.wait()
        super().connect()
        self._world.wait()

    def time(self) -> int:
        self._world.wait()
        result = super().time()
        self._world.wait()
        return result

    def ends(self) -> Ends:
        self._world.wait()
        result = super().ends()
        self._world.wait()
        return result

    def read(self, after: bytes, count: int, block: Any) -> List[Entry]:
        self._world.wait()
        result = super().read(after, count, block)
        self._world.wait()
        return result


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def make_world(patch: pytest.MonkeyPatch, delays: Any = (),
               max_len: int = MAX_LEN) -> World:
    world = World(delays, max_len)
    patch.setattr(reader_module, 'time', world.clock)
    patch.setattr(reader_module, 'PROBE', BLOCK)
    return world


def hang(*operations: str, way: int = 0, seconds: float = 5.0
         ) -> Iterator[float]:
    """The delays if some calls hang, on the way to Redis or back."""
    for operation in OPERATIONS:
        for each in (0, 1):
            yield seconds if operation in operations and each == way else 0.0


@pytest.mark.parametrize('way', [0, 1], ids=['command', 'reply'])
@pytest.mark.parametrize('operation', OPERATIONS)
def test_call_that_hangs(monkeypatch: pytest.MonkeyPatch, operation: str,
                         way: int) -> None:
    """It does not fail, and in the meantime others store entries for connected
    clients."""
    world = make_world(monkeypatch, hang(operation, way=way))
    put(world.stream, 0)
    world.pass_time(1.0)
    world.readings.since = world.clock.now
    # Entries stored a moment earlier may be read, too, if the reply with the
    # server's time was slow.
    world.due = [(1.0 + number / 10, number) for number in range(1, 50)]
    world.read_all()
    arrived = [each for each in world.readings.numbers if each]
    assert arrived == list(range(1, 50))


@pytest.mark.parametrize('operation', ['connect', 'time', 'ends'])
def test_call_that_fails(world: World, operation: str) -> None:
    put(world.stream, 1)
    world.pass_time(1.0)
    readings = world.readings
    readings.since = world.clock.now
    world.stream.plan(operation, Fault.BREAK_BEFORE, Fault.BREAK_BEFORE)
    for number in (2, 3):
        with pytest.raises(Unavailable):
            readings.reader.work(UntilDone(lambda: False))
        world.pass_time(1.0)
        put(world.stream, number)
    world.pass_time(1.0)
    readings.idle()
    assert readings.numbers == [2, 3]


def test_call_that_fails_with_any_exception(world: World) -> None:
    """A client library may raise exceptions of other types."""
    def connect() -> None:
        raise LookupError('no node of the cluster answers')

    link = SlowLink(world)
    link.connect = connect  # type: ignore[method-assign]
    links = iter([link, SlowLink(world)])
    world.readings.reader._open_link = lambda: next(links)
    with pytest.raises(LookupError):
        world.readings.idle()
    world.pass_time(5.0)
    put(world.stream, 1)
    world.readings.idle()
    assert world.readings.numbers == [1]


def test_client_that_connects_before_the_task_runs(world: World) -> None:
    """The reader's task has not run its first line yet."""
    put(world.stream, 1)
    world.pass_time(1.0)
    world.readings.since = world.clock.now
    world.pass_time(1.0)
    put(world.stream, 2)
    world.pass_time(1.0)
    world.readings.idle()
    assert world.readings.numbers == [2]


def test_entry_of_the_same_millisecond(world: World) -> None:
    """An id has only milliseconds, and the first entry of one may be later
    than a client that connected in the same."""
    world.pass_time(1.0)
    world.readings.since = world.clock.now
    put(world.stream, 1, 2)
    world.readings.idle()
    assert world.readings.numbers == [1, 2]


def test_no_client_for_a_long_time(world: World) -> None:
    """History is not for clients that connect later, however long it took."""
    world.pass_time(60.0)
    put(world.stream, 1)
    world.pass_time(60.0)
    world.readings.since = world.clock.now
    world.readings.idle()
    assert world.readings.numbers == []
    # No future id is before it.
    assert world.readings.reader.cursor == world.stream.last


def test_stream_created_while_a_call_hangs(
        monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(monkeypatch, hang('time'))
    world.due = [(1.0, 1), (2.0, 2)]
    world.read_all()
    assert world.readings.numbers == [1, 2]
    assert world.readings.lost.calls == []


def test_missing_stream(world: World) -> None:
    world.readings.idle()
    assert world.readings.reader.cursor == START
    put(world.stream, 1)
    world.readings.idle()
    assert world.readings.numbers == [1]


@pytest.mark.parametrize('counts', [True, False],
                         ids=['counted', 'not counted'])
@pytest.mark.parametrize('operation', ['time', 'ends'])
def test_entries_trimmed_before_they_can_be_read(
        monkeypatch: pytest.MonkeyPatch, operation: str, counts: bool) -> None:
    """The size of the loss is unknown, its occurrence is not."""
    world = make_world(monkeypatch, hang(operation))
    world.stream.counts_added = counts
    put(world.stream, 0)
    world.pass_time(1.0)
    world.readings.since = world.clock.now
    count = 2 * MAX_LEN
    world.due = [(2.0, number) for number in range(1, count)]
    world.read_all()
    assert world.readings.numbers == list(range(MAX_LEN, count))
    assert world.readings.lost.calls == [TRIMMED]


def test_entries_trimmed_between_two_calls(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader has seen where the stream begins and ends, but not read
    it."""
    world = make_world(monkeypatch, hang('ends', 'read'))
    put(world.stream, 0)
    world.pass_time(1.0)
    world.readings.since = world.clock.now
    world.due = [(2.0, 1), *(
        (7.0, number) for number in range(2, MAX_LEN + 1)),
        (7.0, MAX_LEN + 1)]
    world.read_all()
    assert 1 not in world.readings.numbers
    assert world.readings.lost.calls == [TRIMMED]


@pytest.mark.parametrize('counts', [True, False],
                         ids=['counted', 'not counted'])
def test_earlier_trimming_is_no_loss(world: World, counts: bool) -> None:
    """It was never for a client of this process."""
    world.stream.counts_added = counts
    put(world.stream, *range(3 * MAX_LEN))
    world.pass_time(1.0)
    world.readings.since = world.clock.now
    world.pass_time(1.0)
    put(world.stream, -1)
    world.read_all()
    assert world.readings.numbers == [-1]
    assert world.readings.lost.calls == []


#: Seconds: almost none, as on a network, or until a timeout.
SECONDS = st.one_of(
    st.just(0.0), st.floats(0.0, 0.003), st.floats(0.0, 10.0))


@settings(max_examples=200)
@given(delays=st.lists(SECONDS, max_size=30), since=SECONDS,
       before=st.lists(SECONDS, max_size=5), gaps=st.lists(
           SECONDS, max_size=20),
       faults=st.lists(st.tuples(st.sampled_from(OPERATIONS),
                                 st.sampled_from([Fault.BREAK_BEFORE,
                                                  Fault.ERROR])),
                       max_size=3), started=SECONDS,
       max_len=st.sampled_from([2, 5, MAX_LEN]))
def test_any_delays(delays: List[float], since: float, before: List[float],
                    gaps: List[float], faults: List[Any], started: float,
                    max_len: int) -> None:
    """All entries stored from that moment on arrive, once and in order, or
    their trimming is reported; entries stored before it arrive only if replies
    were slow."""
    with pytest.MonkeyPatch.context() as patch:
        world = make_world(patch, delays, max_len)
        moments = sorted(before)
        world.due = [(moment, number)
                     for number, moment in enumerate(moments)]
        world.pass_time(max([since, *moments]))
        put_before = len(moments)
        came = world.now
        world.readings.since = world.clock.now
        world.due = [
            (came + gap, put_before + number) for number, gap in enumerate(
                itertools.accumulate(gaps))]
        last = put_before + len(gaps)
        for operation, fault in faults:
            world.stream.plan(operation, fault)
        world.pass_time(started)
        readings = world.readings
        world.read_all()
        first = readings.numbers[0] if readings.numbers else put_before
        lost = set(range(put_before, last)) - set(readings.numbers)
        assert readings.numbers == sorted(
            set(range(first, last)) - lost)
        assert not lost or readings.lost.calls
        if max_len == MAX_LEN:
            assert not lost and not readings.lost.calls
        # By the time of a reply, and two milliseconds.
        oldest = came - max(delays, default=0.0) - 0.003
        assert all(moment > oldest for moment in moments[first:])
