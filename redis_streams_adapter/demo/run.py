"""One run of the demo, from the start of its processes to their end."""
from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any, Protocol, TextIO

from .report import Report
from .clients import Client, Inbox, disconnect_all
from .cluster import Cluster
from .errors import DemoError, Interrupted
from .orders import ROOM
from .processes import APPLICATION
from ..stream.masking import hide_secrets
from .scenario import CLIENTS, EXTERNAL, LAST, MEMBERS, STEPS, WORKERS, Cell, \
    Step, explain, judge, with_unknown_steps
from .signals import Signals

TITLE = 'One event, emitted on one server, reaches the clients of all'


class Demo:
    """A cluster of three workers and six clients, and what happens in it.

    :param report: describes what happens.
    :param redis_url: the Redis to use; by default, it starts one.
    :param timeout: seconds that each step may take.
    :param application: what the workers serve, as gunicorn takes it.

    Whatever it starts, :meth:`close` ends.
    """

    def __init__(self, report: Report, signals: Signals,
                 redis_url: str | None = None, timeout: float = 10.0,
                 application: str = APPLICATION) -> None:
        self.report = report
        self._signals = signals
        self._timeout = timeout
        self._cluster = Cluster(report, signals, redis_url, timeout,
                                application)
        self._inbox = Inbox()
        self._clients: dict[str, Client] = {}

    def run(self) -> bool:
        """Go through all of it; return whether everything was right."""
        began = time.monotonic()
        self.report.title(TITLE)
        self._cluster.open_redis()
        self._cluster.start_processes()
        self._connect_clients()
        self._write_facts(time.monotonic() - began)
        self.report.table_head()
        performed: list[Step] = []
        problems: list[str] = []
        for step in STEPS:
            performed.append(step)
            problems += self._perform(step)
            if problems:
                break
        else:
            problems += self._wait_for_the_last()
        self.report.table_foot()
        cells, more = self._judge_all(performed)
        problems += more
        self.report.problems(problems)
        self.report.summary(len(performed), cells, not problems)
        return not problems

    def close(self) -> None:
        """End everything. Bounded in time, and idempotent.

        Raises :class:`DemoError`, after everything else, if the stream could
        not be deleted.
        """
        disconnect_all(self._clients.values())
        self._clients = {}
        self._cluster.close()

    def _connect_clients(self) -> None:
        for name, number in CLIENTS.items():
            worker = self._cluster.workers[number - 1]
            client = Client(name, self._inbox)
            self._clients[name] = client
            try:
                client.connect(worker.url, self._timeout)
            except DemoError as exc:
                raise DemoError(
                    f'{exc}; {worker.name}: {worker.last_log_line()}') from exc
            self._signals.check()
            if client.welcome.get('worker') != worker.name:
                raise DemoError(
                    f'{name} is connected to {client.welcome.get("worker")} '
                    f'instead of {worker.name}')
            if name in MEMBERS:
                client.join(self._timeout)

    def _write_facts(self, seconds: float) -> None:
        for worker in self._cluster.workers:
            names = [name for name, number in CLIENTS.items()
                     if f'worker {number}' == worker.name]
            self.report.fact(
                worker.name.capitalize(),
                f'gunicorn, gevent, pid {worker.pid}, port {worker.port}; '
                f'clients {" and ".join(names)}')
        self.report.fact('Room', f'"{ROOM}": {", ".join(MEMBERS)}')
        self.report.fact(
            'Ready', f'{WORKERS} servers in the cluster, {len(CLIENTS)} '
            f'WebSockets open, after {seconds:.1f} s')

    def _perform(self, step: Step) -> list[str]:
        """Have one event emitted, and write its line when its marker has
        reached everyone; return what went wrong with that."""
        answer = None
        if step.said_by is not None:
            self._clients[step.said_by].say(step.number, step.text)
        else:
            answer = self._carry_out(step)
        without = self._inbox.wait_for_marker(
            list(CLIENTS), step.number, self._timeout)
        self._signals.check()
        self.report.line(step, judge(step, self._received()))
        if without:
            return [f'line {step.number}: the marker that its sender emitted '
                    f'to everyone right after it did not reach '
                    f'{", ".join(without)} within {self._timeout:g} s']
        if step.asks and answer != step.to:
            return [f'line {step.number}: the answer was {answer!r}']
        return []

    def _carry_out(self, step: Step) -> Any:
        to = step.to
        if to in self._clients:
            to = self._clients[to].sid
        return self._sender(step.sender)(
            step.order(to, self._timeout), 2 * self._timeout)

    def _sender(self, number: int) -> Callable[[dict[str, Any], float], Any]:
        if number != EXTERNAL:
            return self._cluster.workers[number - 1].carry_out
        if self._cluster.emitter is None:
            raise DemoError('the external process was not started')
        return self._cluster.emitter.carry_out

    def _wait_for_the_last(self) -> list[str]:
        # When a sender's last marker has arrived, so have all its events: no
        # more will come.
        for number in range(WORKERS + 1):
            self._sender(number)({'step': LAST + number}, self._timeout)
        return [
            f'the last marker of sender {number} did not reach '
            f'{", ".join(without)} within {self._timeout:g} s'
            for number in range(WORKERS + 1)
            if (without := self._inbox.wait_for_marker(
                list(CLIENTS), LAST + number, self._timeout))]

    def _judge_all(self, performed: list[Step],
                   ) -> tuple[list[Cell], list[str]]:
        received = self._received()
        cells: list[Cell] = []
        problems: list[str] = []
        for step in performed:
            judged = judge(step, received)
            cells += judged
            problems += [explain(step, cell) for cell in judged
                         if cell.problem is not None]
        problems += [f'{name} received an event that was not emitted'
                     for name in with_unknown_steps(received)]
        return cells, problems

    def _received(self) -> dict[str, Any]:
        return {name: self._inbox.of(name) for name in CLIENTS}


def run(out: TextIO, err: TextIO, redis_url: str | None = None,
        timeout: float = 10.0, application: str = APPLICATION) -> int:
    """Run the demo and return the status to exit with.

    :param out: the output of the report.
    :param err: the output of the line that says why there is no report.
    :param redis_url: the Redis to use; by default, it starts one.
    :param timeout: seconds that each step may take.
    :param application: what the workers serve, as gunicorn takes it.

    0: every client got exactly what was meant for it. 1: one did not, or a
    step failed. 128 and the signal's number: it was interrupted.
    """
    return supervise(
        lambda report, signals: Demo(report, signals, redis_url, timeout,
                                     application), out, err, redis_url)


class Run(Protocol):
    """What starts processes, and ends them."""

    def run(self) -> bool:
        ...

    def close(self) -> None:
        ...


def supervise(make: Callable[[Report, Signals], Run], out: TextIO,
              err: TextIO, redis_url: str | None) -> int:
    """Carry out a run, end all that it has started, and return the status to
    exit with, as :func:`run` does.

    :param make: makes the run.
    :param redis_url: its password is not shown.
    """
    def say(text: str) -> None:
        text = hide_secrets(text, redis_url or '')
        print(f'redis-streams-adapter demo: {text}', file=err, flush=True)

    status = 1
    with Signals() as signals:
        demo = make(Report(out), signals)
        try:
            try:
                if demo.run():
                    status = 0
            finally:
                signals.ignore()
        except DemoError as exc:
            say(str(exc))
        except Interrupted as exc:
            status = 128 + exc.signum
            say(f'ended by {exc.name}')
        finally:
            try:
                demo.close()
            except DemoError as exc:
                status = status or 1
                say(str(exc))
    return status
