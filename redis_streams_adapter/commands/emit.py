"""``emit``: sends an event to clients, through a manager that only writes.

The exit status is 0 only if Redis has confirmed the event.
"""
from __future__ import annotations

import argparse
import json
from typing import Any

from .errors import CommandError, UsageError
from .output import Output
from .place import Place

HELP = 'send an event to clients'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument('event', type=_event, help='the name of the event')
    add_values(parser)
    parser.add_argument(
        '--to', metavar='ROOM', action='append',
        help='only to this room or sid, may be repeated (default: to all '
        'clients of the namespace); --to=SID for one that begins with a '
        'hyphen')
    parser.add_argument(
        '--except', dest='skip', metavar='ROOM', action='append',
        help='not to this room or sid, may be repeated')


def add_values(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an event."""
    parser.add_argument(
        'arguments', nargs='*', metavar='JSON', type=as_value,
        help="the arguments of the event, each as JSON: 5, '\"text\"', "
        "'{\"price\": 5}'")


def run(given: argparse.Namespace, place: Place, output: Output) -> int:
    """Run it."""
    from ..manager import RedisStreamsManager
    namespace = place.namespace or '/'
    manager = RedisStreamsManager(
        place.url, write_only=True, publish='background', **place.arguments)
    stored = False
    try:
        manager.emit(
            given.event, tuple(given.arguments), namespace=namespace,
            room=given.to, skip_sid=given.skip)
        stored = manager.flush(place.timeout)
        reason = manager.health()['last_error']
    except (TypeError, ValueError) as exc:
        raise UsageError(f'the event cannot be sent: {exc}') from exc
    finally:
        # There is nothing left to wait for.
        manager.close(0)
    if not stored:
        raise CommandError(
            f'Redis has not confirmed the event within {place.timeout:g} s '
            f'({reason or "no reply"}); it may or may not have been sent: '
            'check that Redis runs, --url, and raise --timeout')
    if output.as_json:
        output.object({'event': given.event, 'namespace': namespace,
                       'to': given.to or [], 'except': given.skip or [],
                       'stored': True})
    else:
        output.line(f'{given.event}: stored by Redis')
    return 0


def as_value(text: str) -> Any:
    """An argument of an event."""
    try:
        return json.loads(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f'must be JSON ({exc}); a text needs quotes that the shell '
            "leaves alone: '\"text\"'") from None


def _event(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('must not be empty')
    return text
