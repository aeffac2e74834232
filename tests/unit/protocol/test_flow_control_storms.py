"""Nodes that emit as fast as they may, to a stream that keeps little: nothing
is trimmed before their readers have read it. The time is simulated."""
from collections import deque
from typing import Callable, Deque, List, NamedTuple, Optional, Union

import pytest

from redis_streams_adapter.protocol.flow_control import ASK_AGAIN, \
    FlowControl, mark_every, node_share, PATIENCE, reach
from redis_streams_adapter.protocol.position import Position

#: How long a round takes, in seconds.
ROUND = 0.02

#: How often a reader reports that it lags, in seconds.
REPORT_EVERY = 0.1

#: How many entries a writer sends at once.
BATCH = 200


class Message(NamedTuple):
    """Of a node, with its number."""

    writer: str
    number: int


class Report(NamedTuple):
    """How far the reader of a node has come; ``None``: it does not lag, and
    an earlier version reports it."""

    reader: str
    position: Optional[Position]
    lags: bool


class Question(NamedTuple):
    """Asks for such reports."""


Entry = Union[Message, Report, Question]


class Stream:
    """Keeps the last entries."""

    def __init__(self, max_len: int) -> None:
        self.max_len = max_len
        self.entries: List[Entry] = []
        #: How many of the next entries of each kind are lost.
        self.drops: dict[type, int] = {}

    def add(self, entry: Entry) -> int:
        kind = type(entry)
        if self.drops.get(kind):
            self.drops[kind] -= 1
        else:
            self.entries.append(entry)
        return len(self.entries)

    @property
    def first(self) -> int:
        """The number of the first entry that is kept."""
        return max(0, len(self.entries) - self.max_len)


class Node:
    """A writer, and a reader that reads so many entries in a round.

    :param count: how many nodes there are.
    :param answers: whether it is of a version that answers questions.
    :param reports: whether it is of a version that reports lags.
    """

    def __init__(self, uid: str, stream: Stream, count: int, speed: int,
                 answers: bool = True, reports: bool = True) -> None:
        self.uid = uid
        self.stream = stream
        self.flow = FlowControl()
        self.flow.window = node_share(stream.max_len, count)
        self.flow.reach = reach(stream.max_len, count - 1)
        self.speed = speed
        self.answers = answers
        self.reports = reports
        #: How many messages are left to emit, and how many it has emitted.
        self.waiting = 0
        self.written = 0
        #: How many entries it has read, and how many were trimmed before.
        self.cursor = 0
        self.lost = 0
        self._mark_at = 0
        self._lags = False
        self._reported_at = 0.0
        self._ahead: Deque[Entry] = deque([Question()] if answers else [],
                                          maxlen=1)

    def write(self, now: float) -> None:
        while self._ahead:
            self.stream.add(self._ahead.popleft())
        room = self.flow.room(now)
        assert room is not None
        if self.answers and self.flow.asks(now):
            self.stream.add(Question())
        last = 0
        for _ in range(min(room, self.waiting, BATCH)):
            self.waiting -= 1
            self.written += 1
            last = self.stream.add(Message(self.uid, self.written))
        if last:
            self.flow.wrote(Position(last), self.written, now)

    def read(self, now: float) -> None:
        if self.speed == 0:
            return
        first = self.stream.first
        self.lost += max(0, first - self.cursor)
        self.cursor = max(self.cursor, first)
        page = self.stream.entries[self.cursor:self.cursor + self.speed]
        seen = 0
        for entry in page:
            self.cursor += 1
            position = Position(self.cursor)
            if isinstance(entry, Question):
                self.flow.asked(position, self.cursor, now)
                if self.answers:
                    self._ahead.append(Report(self.uid, position, self._lags))
            elif isinstance(entry, Report):
                if entry.reader == self.uid:
                    pass
                elif entry.position is None:
                    self.flow.gone(entry.reader)
                else:
                    self.flow.reported(*entry, now)
            elif entry.writer == self.uid:
                seen = entry.number
        if seen:
            self.flow.seen(seen, now)
        if self.cursor >= self._mark_at:
            self._mark_at = self.cursor + mark_every(self.stream.max_len)
            self.flow.passed(Position(self.cursor), self.cursor, now)
        lags = len(page) == self.speed
        if self.reports and lags != self._lags or lags and \
                now - self._reported_at >= REPORT_EVERY:
            self._reported_at = now
            position = Position(self.cursor)
            if lags:
                self.flow.lags(position, now)
            self._ahead.append(Report(
                self.uid, position if lags or self.answers else None, lags))
        self._lags = lags


class Cluster:
    """Some nodes and their time.

    :param speeds: of their readers.
    """

    def __init__(self, max_len: int, *speeds: int, **others: bool) -> None:
        self.stream = Stream(max_len)
        self.nodes = [
            Node(f'node-{number}', self.stream, len(speeds), speed,
                 **(others if number else {}))
            for number, speed in enumerate(speeds)]
        self.now = 1000.0
        # Until all know each other.
        for _ in range(10):
            self.round()

    def round(self) -> None:
        self.now += ROUND
        for node in self.nodes:
            node.write(self.now)
        for node in self.nodes:
            node.read(self.now)

    def storm(self, count: int, *senders: int,
              each: Callable[[], None] = lambda: None) -> float:
        """Emit so many messages from each of these nodes.

        :param each: what to do in each round.
        :return: how long it took to write them, in seconds.
        """
        began = self.now
        for sender in senders:
            self.nodes[sender].waiting += count
        while any(node.waiting for node in self.nodes):
            assert self.now - began < 600
            self.round()
            each()
        return self.now - began

    def finish(self) -> None:
        """Let all readers read everything."""
        last = len(self.stream.entries)
        while any(node.speed and node.cursor < last for node in self.nodes):
            self.round()

    @property
    def lost(self) -> List[int]:
        return [node.lost for node in self.nodes]


@pytest.mark.parametrize('max_len', [100, 1_000, 10_000])
@pytest.mark.parametrize('speed', [5, 60, 1000])
def test_slow_reader_loses_nothing(max_len: int, speed: int) -> None:
    """Whether it lags all the time or not."""
    cluster = Cluster(max_len, 1000, speed)
    cluster.storm(3 * max_len, 0)
    cluster.finish()
    assert cluster.lost == [0, 0]


@pytest.mark.parametrize('max_len', [1_000, 10_000])
@pytest.mark.parametrize('senders', [[0], [0, 1], [0, 1, 2]])
def test_several_writers(max_len: int, senders: List[int]) -> None:
    """Each has its share, and all of them wait for the slowest reader."""
    cluster = Cluster(max_len, 300, 1000, 60, 20)
    cluster.storm(3 * max_len, *senders)
    cluster.finish()
    assert cluster.lost == [0] * 4


@pytest.mark.parametrize('max_len', [100, 1_000, 10_000])
@pytest.mark.parametrize('senders', [[0], [0, 1]])
def test_starved_reader_loses_nothing(max_len: int,
                                      senders: List[int]) -> None:
    """It gets no CPU time for less than two seconds, again and again, and
    cannot say so."""
    cluster = Cluster(max_len, 1000, 1000, 1000)
    starved = cluster.nodes[2]

    def each() -> None:
        starved.speed = 1000 if cluster.now % 2 > 1.8 else 0

    cluster.storm(3 * max_len, *senders, each=each)
    starved.speed = 1000
    cluster.finish()
    assert cluster.lost == [0, 0, 0]


@pytest.mark.parametrize('silent_from', [1, 300])
def test_dead_reader_holds_writers_once(silent_from: int) -> None:
    max_len = 1000
    cluster = Cluster(max_len, 1000, 1000, 1000)
    plain = Cluster(max_len, 1000, 1000).storm(20 * max_len, 0)
    dead = cluster.nodes[2]

    def each() -> None:
        if cluster.nodes[0].written >= silent_from:
            dead.speed = dead.waiting = 0

    took = cluster.storm(20 * max_len, 0, each=each)
    assert PATIENCE < took < plain + 2 * PATIENCE
    cluster.finish()
    assert cluster.lost == [0, 0, 0]


def test_node_that_says_goodbye_holds_nothing() -> None:
    max_len = 1000
    cluster = Cluster(max_len, 1000, 1000, 1000)
    cluster.nodes[2].speed = 0
    for node in cluster.nodes:
        node.flow.gone('node-2')
    assert cluster.storm(10 * max_len, 0) < Cluster(
        max_len, 1000, 1000).storm(10 * max_len, 0) + PATIENCE / 2


@pytest.mark.parametrize('kind', [Report, Question])
@pytest.mark.parametrize('count', [1, 3])
def test_lost_entry_costs_a_moment(kind: type, count: int) -> None:
    """A question or an answer that was not stored is not waited for as a dead
    reader is."""
    max_len = 1000
    plain = Cluster(max_len, 1000, 1000).storm(10 * max_len, 0)
    cluster = Cluster(max_len, 1000, 1000)
    cluster.stream.drops[kind] = count
    took = cluster.storm(10 * max_len, 0)
    assert cluster.stream.drops[kind] == 0
    assert took < plain + count * (ASK_AGAIN + 5 * ROUND)
    cluster.finish()
    assert cluster.lost == [0, 0]


@pytest.mark.parametrize('speed', [10, 60])
def test_reader_of_an_earlier_version_is_waited_for_if_it_lags(
        speed: int) -> None:
    """It answers no question, and reports that it lags."""
    max_len = 10_000
    cluster = Cluster(max_len, 200, speed, answers=False)
    cluster.storm(3 * max_len, 0)
    cluster.finish()
    assert cluster.lost == [0, 0]


@pytest.mark.parametrize('reports', [False, True])
def test_reader_that_answers_nothing_holds_nothing(reports: bool) -> None:
    """Such as one in Node.js, which reports nothing at all."""
    max_len = 1000
    cluster = Cluster(max_len, 1000, 1000, answers=False, reports=reports)
    assert cluster.storm(20 * max_len, 0) < Cluster(
        max_len, 1000, 1000).storm(20 * max_len, 0) + PATIENCE / 2
    cluster.finish()
    assert cluster.lost == [0, 0]


def test_nobody_asks_at_low_rates() -> None:
    cluster = Cluster(10_000, 1000, 1000)

    def questions() -> int:
        return sum(isinstance(entry, Question)
                   for entry in cluster.stream.entries)

    before = questions()
    for _ in range(500):
        # 500 a second.
        cluster.nodes[0].waiting += 10
        cluster.round()
    assert cluster.nodes[0].written == 5000
    assert questions() == before


def test_cost_of_questions() -> None:
    """At the highest rate: a few entries of each thousand."""
    cluster = Cluster(10_000, 1000, 1000, 1000)
    cluster.storm(30_000, 0, 1)
    others = sum(not isinstance(entry, Message)
                 for entry in cluster.stream.entries)
    assert others < len(cluster.stream.entries) / 200
