"""The commands, in the order in which the help lists them."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from . import call, doctor, emit, exporter, lag, nodes, rooms, sessions, \
    sockets, stats, tail, top
from .place import add_options
from .running import run

#: Each module has ``HELP``, ``add_arguments`` and ``run``.
COMMANDS: dict[str, Any] = {
    'nodes': nodes, 'stats': stats, 'rooms': rooms, 'sockets': sockets,
    'top': top, 'tail': tail, 'lag': lag, 'sessions': sessions,
    'emit': emit, 'call': call, 'doctor': doctor, 'exporter': exporter}

#: What ``--help`` says of the exit status.
EPILOG = ('Exit status: 0, it worked; 1, it did not; 2, the arguments are '
          'wrong or a requirement is missing. docs/command-line.rst explains '
          'what is shown.')


def add_commands(commands: Any, more: Mapping[str, Any]) -> None:
    """Add all commands to the parser.

    :param commands: what ``add_subparsers`` has returned.
    :param more: further ones, whose modules are above this one.
    """
    for name, module in {**COMMANDS, **more}.items():
        parser = commands.add_parser(
            name, help=module.HELP, epilog=EPILOG,
            description=_sentence(module.HELP))
        module.add_arguments(parser)
        add_options(parser)
        parser.set_defaults(run=_runner(module))


def _runner(module: Any) -> Callable[[argparse.Namespace], int]:
    return lambda given: run(module.run, given)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + '.'
