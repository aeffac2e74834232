"""Runs a command: its options, its errors and its exit status."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import logging
import sys

from ..errors import RedisStreamsError
from ..protocol.transport import Unavailable
from ..stream.masking import hide_secrets, shown
from .errors import CommandError, UsageError
from .output import Output, printable
from .place import Place, place_of, url_of

#: What a command does: returns the exit status.
Work = Callable[[argparse.Namespace, Place, Output], int]

DONE, FAILED, WRONG = 0, 1, 2


def run(work: Work, given: argparse.Namespace) -> int:
    """Run a command.

    :param given: its arguments.
    :return: the exit status.
    """
    url = given.url or ''
    try:
        url = url_of(given)
        place = place_of(given, url)
        with _quiet():
            return work(given, place,
                        Output(sys.stdout, sys.stderr, given.json))
    except UsageError as exc:
        return _fail(given, str(exc), url, WRONG)
    except CommandError as exc:
        return _fail(given, str(exc), url, FAILED)
    except Unavailable as exc:
        return _fail(given, f'Redis at {shown(url)} cannot be used: {exc}; '
                     f'check that it runs, and --url', url, FAILED)
    except RedisStreamsError as exc:
        return _fail(given, str(exc), url, FAILED)


def _fail(given: argparse.Namespace, text: str, url: str,
          status: int) -> int:
    print(printable(f'redis-streams-adapter {given.command}: '
                    f'{hide_secrets(text, url)}'), file=sys.stderr)
    return status


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of the package off the terminal: commands report by
    themselves what is in it."""
    logger = logging.getLogger('redis_streams_adapter')
    handler, propagates = logging.NullHandler(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)
