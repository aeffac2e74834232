"""One run of the demo with its page, from the first process to the last."""
from __future__ import annotations

import logging
from statistics import median
import threading
import time
from typing import Any, TextIO

from ...dashboard import Dashboard
from ..clients import disconnect_all
from ..cluster import Cluster
from ..errors import DemoError, Interrupted
from ..processes import APPLICATION
from ..redis_url import message_queue
from ..report import Report
from ..run import supervise
from ..scenario import CLIENTS, EXTERNAL
from ..signals import Signals
from .actions import Actions
from .board import Board
from .clients import ReturningClient
from .emitting import Emitting
from .page import Page
from .serving import Serving

#: Seconds between two questions of the dashboard.
DASHBOARD_INTERVAL = 1.0

TITLE = 'Break something, and see that no client loses an event'


class WebDemo:
    """A cluster whose servers emit without end, and its page.

    :param report: describes what happens.
    :param signals: end it.
    :param redis_url: the Redis to use; by default, it starts one.
    :param timeout: seconds that each step may take.
    :param port: of the page, see :class:`.serving.Serving`.
    :param application: what the workers serve, as gunicorn takes it.

    Whatever it starts, :meth:`close` ends.
    """

    def __init__(self, report: Report, signals: Signals,
                 redis_url: str | None, timeout: float, port: int | None,
                 application: str) -> None:
        self._report = report
        self._signals = signals
        self._timeout = timeout
        self._port = port
        self._cluster = Cluster(report, signals, redis_url, timeout,
                                application, durable=True)
        self._board = Board(CLIENTS, report.happening)
        self._clients = [ReturningClient(name, self._board, timeout)
                         for name in CLIENTS]
        self._actions = Actions(self._cluster, self._clients, self._board,
                                timeout)
        self._dashboard: Dashboard | None = None
        self._page: Page | None = None
        self._serving: Serving | None = None

    def run(self) -> bool:
        """Go on until a signal; return whether everything was right."""
        began = time.monotonic()
        self._report.title(TITLE)
        self._cluster.open_redis()
        self._cluster.start_processes()
        # A signal must not strike while the main thread has the board's lock.
        with self._signals.held():
            self._begin()
            self._serve()
        self._report.fact(
            'Ready', f'after {time.monotonic() - began:.1f} s; Ctrl-C ends it')
        self._report.fact('Open', self._serving.url if self._serving else '')
        self._report.gap()
        try:
            threading.Event().wait()
        except Interrupted:
            # The way to end it: no later signal raises.
            pass
        return self._conclude()

    def close(self) -> None:
        """End everything. Bounded in time, and idempotent.

        Raises :class:`DemoError`, after everything else, if the stream could
        not be deleted.
        """
        # Without a signal, nothing has ended them yet.
        self._actions.end()
        for emitting in self._actions.emitting.values():
            emitting.stop()
        if self._page is not None:
            self._page.close()
        if self._dashboard is not None:
            self._dashboard.close()
        if self._serving is not None:
            self._serving.close()
            self._serving = None
        disconnect_all(self._clients)
        self._cluster.close()

    def _begin(self) -> None:
        for worker in self._cluster.workers:
            self._board.server(worker.number, 'serving', worker.url,
                               worker.pid)
            self._report.fact(
                f'Server {worker.number}',
                f'gunicorn, gevent, pid {worker.pid}, port {worker.port}')
        for client in self._clients:
            client.start()
        behind = self._board.wait_until_caught_up(self._timeout)
        if behind:
            raise DemoError(f'{", ".join(behind)} did not connect within '
                            f'{self._timeout:g} s')
        # Nothing was emitted yet, so every client has to get everything.
        for worker in self._cluster.workers:
            self._actions.emit_from(worker)
        if self._cluster.emitter is not None:
            external = Emitting('external process',
                                self._cluster.emitter.carry_out, self._board,
                                self._timeout)
            self._actions.emitting[EXTERNAL] = external
            external.start()

    def _serve(self) -> None:
        self._dashboard = Dashboard(
            message_queue(self._cluster.redis_url, recovery=True),
            self._cluster.stream, interval=DASHBOARD_INTERVAL,
            logger=_silent())
        self._page = Page(self._board, self._actions, self._dashboard)
        self._serving = Serving(self._page, self._port)

    def _conclude(self) -> bool:
        """Have the last events arrive, and compare."""
        self._board.log('the demo ends: no more events')
        self._actions.end()
        emitting = list(self._actions.emitting.values())
        for each in emitting:
            each.stop()
        for each in emitting:
            if not each.join():
                self._board.problem(f'{each.source} does not answer')
        self._board.wait_until_caught_up(self._timeout)
        state = self._board.snapshot()
        good, text = verdict(state, self._board.latencies())
        self._board.conclude(('PASS  ' if good else 'FAIL  ') + text)
        self._write(state)
        self._report.verdict(text, good)
        return good

    def _write(self, state: dict[str, Any]) -> None:
        self._report.gap()
        for each in state['clients']:
            self._report.fact(
                each['name'], f'{each["received"]:,} received, '
                f'{each["lost"] + each["waiting"]} lost, '
                f'{each["twice"]} twice, {each["disordered"]} out of order; '
                f'recovered {each["recovered"]} of {each["returns"]}')
        if state['unsent']:
            self._report.fact(
                '', f'{state["unsent"]} more events were in the outbox of a '
                'server that was killed')
        self._report.problems(state['problems'])


def _silent() -> logging.Logger:
    """A logger for the dashboard, which notices each outage: the page shows
    them."""
    logger = logging.getLogger(f'{__name__}.dashboard')
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def verdict(state: dict[str, Any],
            latencies: list[float]) -> tuple[bool, str]:
    """Return whether every client got every event once and in order, and the
    line that says so.

    :param state: :meth:`.board.Board.snapshot`, when no event is under way.
    :param latencies: seconds from the emit to a client.
    """
    clients = state['clients']
    lost = sum(each['lost'] + each['waiting'] for each in clients)
    twice = sum(each['twice'] for each in clients)
    disordered = sum(each['disordered'] for each in clients)
    expected = state['events'] * len(clients)
    text = (f'{state["events"]} events, '
            f'{expected - lost - twice - disordered} of {expected} deliveries '
            f'exactly once, {disordered} out of order')
    if latencies:
        text += f'; median {median(latencies) * 1000:.1f} ms'
    return not (lost or twice or disordered or state['problems']), text


def run(out: TextIO, err: TextIO, redis_url: str | None = None,
        timeout: float = 10.0, port: int | None = None,
        application: str = APPLICATION) -> int:
    """Serve the page until a signal, and return the status to exit with.

    :param out: the output of the report.
    :param err: the output of the line that says why there is no report.
    :param redis_url: the Redis to use; by default, it starts one.
    :param timeout: seconds that each step may take.
    :param port: of the page; 0: any; ``None``: the usual one, if it is free.
    :param application: what the workers serve, as gunicorn takes it.

    0: every client got every event, once and in order. 1: one did not, or a
    step failed. 128 and the signal's number: it was interrupted before the
    page was ready.
    """
    return supervise(
        lambda report, signals: WebDemo(report, signals, redis_url, timeout,
                                        port, application),
        out, err, redis_url)
