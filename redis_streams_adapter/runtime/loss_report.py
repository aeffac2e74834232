"""Losses are counted, logged, and reported to the application."""
import logging
import time
from typing import Any, Callable, Dict, Optional

from ..concurrency.locks import Lock
from ..losses import Loss, Losses
from ..concurrency.engines import Engine


class LossReport:
    """All losses of a process; called with each, by any task.

    :param on_loss: the application's function, if it has one.
    """

    def __init__(self, engine: Engine, logger: Callable[[], logging.Logger],
                 on_loss: Optional[Callable[[Loss], Any]]) -> None:
        self._engine = engine
        self._logger = logger
        self._on_loss = on_loss
        #: Protects the losses. Nothing is logged or called under it.
        self._lock = Lock()
        self._losses = Losses()

    @property
    def counts(self) -> Dict[str, int]:
        """The counters, by the names that they have in ``stats()``."""
        with self._lock:
            return dict(self._losses.counts)

    def __call__(self, loss: Loss) -> None:
        with self._lock:
            line = self._losses.add(loss, time.monotonic())
        if line is not None:
            self._logger().error('%s', line)
        if self._on_loss is not None:
            # A task of its own: it is the application's code.
            self._engine.spawn(self._tell, self._on_loss, loss)

    def log_more(self, now: float) -> None:
        """Log losses that came too soon after another. To be called now and
        then, and with infinity at the end."""
        with self._lock:
            lines = self._losses.more(now)
        for line in lines:
            self._logger().error('%s', line)

    def _tell(self, on_loss: Callable[[Loss], Any], loss: Loss) -> None:
        try:
            on_loss(loss)
        except Exception:
            self._logger().exception('on_loss failed')
