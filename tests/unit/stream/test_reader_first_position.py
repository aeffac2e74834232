"""The reader's first position precedes all entries that were stored since a
local client could know that it is connected, whatever the state of Redis."""
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
from ..examples import examples
from ..readings import BLOCK, Clock, MAX_LEN, put, Readings

#: The reader's calls that wait for a reply.
OPERATIONS = ('connect', 'time', 'ends', 'read')


class Simulation:
    """A process and a server whose clocks advance while calls wait.

    :param delays: the seconds that each command and each reply takes, in turn;
                   later ones take no time.
    :param max_len: the maximum length of the stream.
    """

    def __init__(self, delays: Any = (), max_len: int = MAX_LEN) -> None:
        self.stream = FakeStream(max_len)
        self.clock = Clock()
        self._begun = self.clock.now
        self._delays = iter(delays)
        #: The entries that others store: the time in seconds, and the number.
        self.due: List[Tuple[float, int]] = []
        self.readings = Readings(self.stream)
        self.readings.since = self.clock.now
        self.readings.reader._open_link = lambda: SlowLink(self)

    @property
    def now(self) -> float:
        """The seconds since the start."""
        return self.clock.now - self._begun

    def wait(self) -> None:
        """Wait until a command or a reply has arrived."""
        self.pass_time(next(self._delays, 0.0))

    def pass_time(self, seconds: float) -> None:
        """Advance the clocks; others store entries that become due."""
        end = self.now + seconds
        while self.due and self.due[0][0] <= end:
            moment, number = self.due.pop(0)
            self._set(moment)
            put(self.stream, number)
        self._set(end)

    def read_all(self) -> None:
        """Read all entries that others store now and later."""
        self.readings.idle()
        self.pass_time(300.0)
        self.readings.idle()

    def _set(self, moment: float) -> None:
        self.clock.now = self._begun + moment
        # Redis has whole milliseconds, rounded down.
        self.stream.clock = CLOCK_START + int(moment * 1000 + 1e-6)


class SlowLink(FakeLink):
    """A link whose commands and replies take time."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.stream)
        self._simulation = simulation

    def connect(self) -> None:
        self._simulation.wait()
        super().connect()
        self._simulation.wait()

    def time(self) -> int:
        self._simulation.wait()
        result = super().time()
        self._simulation.wait()
        return result

    def ends(self) -> Ends:
        self._simulation.wait()
        result = super().ends()
        self._simulation.wait()
        return result

    def read(self, after: bytes, count: int, block: Any) -> List[Entry]:
        self._simulation.wait()
        result = super().read(after, count, block)
        self._simulation.wait()
        return result


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return simulate(monkeypatch)


def simulate(patch: pytest.MonkeyPatch, delays: Any = (),
             max_len: int = MAX_LEN) -> Simulation:
    simulation = Simulation(delays, max_len)
    patch.setattr(reader_module, 'time', simulation.clock)
    patch.setattr(reader_module, 'PROBE', BLOCK)
    return simulation


def hang(*operations: str, way: int = 0, seconds: float = 5.0
         ) -> Iterator[float]:
    """The delays if some calls hang, either their command or their reply."""
    for operation in OPERATIONS:
        for each in (0, 1):
            yield seconds if operation in operations and each == way else 0.0


@pytest.mark.parametrize('way', [0, 1], ids=['command', 'reply'])
@pytest.mark.parametrize('operation', OPERATIONS)
def test_call_that_hangs(monkeypatch: pytest.MonkeyPatch, operation: str,
                         way: int) -> None:
    """The call does not fail. Others store entries for connected clients while
    it hangs."""
    simulation = simulate(monkeypatch, hang(operation, way=way))
    put(simulation.stream, 0)
    simulation.pass_time(1.0)
    simulation.readings.since = simulation.clock.now
    # If the reply with the server's time was slow, entries that were stored
    # shortly before may be read, too.
    simulation.due = [(1.0 + number / 10, number) for number in range(1, 50)]
    simulation.read_all()
    arrived = [each for each in simulation.readings.numbers if each]
    assert arrived == list(range(1, 50))


@pytest.mark.parametrize('operation', ['connect', 'time', 'ends'])
def test_call_that_fails(simulation: Simulation, operation: str) -> None:
    put(simulation.stream, 1)
    simulation.pass_time(1.0)
    readings = simulation.readings
    readings.since = simulation.clock.now
    simulation.stream.plan(operation, Fault.BREAK_BEFORE, Fault.BREAK_BEFORE)
    for number in (2, 3):
        with pytest.raises(Unavailable):
            readings.reader.work(UntilDone(lambda: False))
        simulation.pass_time(1.0)
        put(simulation.stream, number)
    simulation.pass_time(1.0)
    readings.idle()
    assert readings.numbers == [2, 3]


def test_call_that_fails_with_any_exception(simulation: Simulation) -> None:
    """A client library may raise exceptions of other types."""
    def connect() -> None:
        raise LookupError('no node of the cluster answers')

    link = SlowLink(simulation)
    link.connect = connect  # type: ignore[method-assign]
    links = iter([link, SlowLink(simulation)])
    simulation.readings.reader._open_link = lambda: next(links)
    with pytest.raises(LookupError):
        simulation.readings.idle()
    simulation.pass_time(5.0)
    put(simulation.stream, 1)
    simulation.readings.idle()
    assert simulation.readings.numbers == [1]


def test_client_that_connects_before_the_task_runs(
        simulation: Simulation) -> None:
    """The reader's task has not run its first line yet."""
    put(simulation.stream, 1)
    simulation.pass_time(1.0)
    simulation.readings.since = simulation.clock.now
    simulation.pass_time(1.0)
    put(simulation.stream, 2)
    simulation.pass_time(1.0)
    simulation.readings.idle()
    assert simulation.readings.numbers == [2]


def test_entry_of_the_same_millisecond(simulation: Simulation) -> None:
    """An id has only milliseconds. A client may connect in the same
    millisecond, before its first entry."""
    simulation.pass_time(1.0)
    simulation.readings.since = simulation.clock.now
    put(simulation.stream, 1, 2)
    simulation.readings.idle()
    assert simulation.readings.numbers == [1, 2]


def test_no_client_for_a_long_time(simulation: Simulation) -> None:
    """A client does not get entries that precede its connect, however long the
    reader waited."""
    simulation.pass_time(60.0)
    put(simulation.stream, 1)
    simulation.pass_time(60.0)
    simulation.readings.since = simulation.clock.now
    simulation.readings.idle()
    assert simulation.readings.numbers == []
    # No future id precedes it.
    assert simulation.readings.reader.cursor == simulation.stream.last


def test_stream_created_while_a_call_hangs(
        monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate(monkeypatch, hang('time'))
    simulation.due = [(1.0, 1), (2.0, 2)]
    simulation.read_all()
    assert simulation.readings.numbers == [1, 2]
    assert simulation.readings.lost.calls == []


def test_missing_stream(simulation: Simulation) -> None:
    simulation.readings.idle()
    assert simulation.readings.reader.cursor == START
    put(simulation.stream, 1)
    simulation.readings.idle()
    assert simulation.readings.numbers == [1]


@pytest.mark.parametrize('counts', [True, False],
                         ids=['counted', 'not counted'])
@pytest.mark.parametrize('operation', ['time', 'ends'])
def test_entries_trimmed_before_they_can_be_read(
        monkeypatch: pytest.MonkeyPatch, operation: str, counts: bool) -> None:
    """The loss is reported, although its size is unknown."""
    simulation = simulate(monkeypatch, hang(operation))
    simulation.stream.counts_added = counts
    put(simulation.stream, 0)
    simulation.pass_time(1.0)
    simulation.readings.since = simulation.clock.now
    count = 2 * MAX_LEN
    simulation.due = [(2.0, number) for number in range(1, count)]
    simulation.read_all()
    assert simulation.readings.numbers == list(range(MAX_LEN, count))
    assert simulation.readings.lost.calls == [TRIMMED]


def test_entries_trimmed_between_two_calls(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader knows the stream's first and last entry, but has not read
    any."""
    simulation = simulate(monkeypatch, hang('ends', 'read'))
    put(simulation.stream, 0)
    simulation.pass_time(1.0)
    simulation.readings.since = simulation.clock.now
    simulation.due = [(2.0, 1), *(
        (7.0, number) for number in range(2, MAX_LEN + 1)),
        (7.0, MAX_LEN + 1)]
    simulation.read_all()
    assert 1 not in simulation.readings.numbers
    assert simulation.readings.lost.calls == [TRIMMED]


@pytest.mark.parametrize('counts', [True, False],
                         ids=['counted', 'not counted'])
def test_earlier_trimming_is_no_loss(simulation: Simulation,
                                     counts: bool) -> None:
    """The trimmed entries were not for a client of this process."""
    simulation.stream.counts_added = counts
    put(simulation.stream, *range(3 * MAX_LEN))
    simulation.pass_time(1.0)
    simulation.readings.since = simulation.clock.now
    simulation.pass_time(1.0)
    put(simulation.stream, -1)
    simulation.read_all()
    assert simulation.readings.numbers == [-1]
    assert simulation.readings.lost.calls == []


#: Seconds: almost none, the delay of a network, or the time until a timeout.
SECONDS = st.one_of(
    st.just(0.0), st.floats(0.0, 0.003), st.floats(0.0, 10.0))


@settings(max_examples=examples(200))
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
    """All entries since the client's connect arrive once and in order, or
    their trimming is reported. Earlier entries arrive only if replies were
    slow."""
    with pytest.MonkeyPatch.context() as patch:
        simulation = simulate(patch, delays, max_len)
        moments = sorted(before)
        simulation.due = [(moment, number)
                          for number, moment in enumerate(moments)]
        simulation.pass_time(max([since, *moments]))
        put_before = len(moments)
        came = simulation.now
        simulation.readings.since = simulation.clock.now
        simulation.due = [
            (came + gap, put_before + number) for number, gap in enumerate(
                itertools.accumulate(gaps))]
        last = put_before + len(gaps)
        for operation, fault in faults:
            simulation.stream.plan(operation, fault)
        simulation.pass_time(started)
        readings = simulation.readings
        simulation.read_all()
        first = readings.numbers[0] if readings.numbers else put_before
        lost = set(range(put_before, last)) - set(readings.numbers)
        assert readings.numbers == sorted(
            set(range(first, last)) - lost)
        assert not lost or readings.lost.calls
        if max_len == MAX_LEN:
            assert not lost and not readings.lost.calls
        # They are earlier by the time of a reply and two milliseconds at most.
        oldest = came - max(delays, default=0.0) - 0.003
        assert all(moment > oldest for moment in moments[first:])
