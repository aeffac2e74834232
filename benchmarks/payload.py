"""The message that every scenario sends.

Each message carries its number and the moment from which its latency counts,
at fixed places, so that a client can check order and measure latency by two
slices, without parsing JSON: clients must stay cheaper than the nodes they
watch. ``server.mjs`` makes the same.
"""
import time

EVENT = 'm'
SIZE = 100
"""Characters of data in a message, unless the scenario says otherwise."""

NUMBER_DIGITS = 8
CLOCK_DIGITS = 20
"""The digits of the largest 64-bit number of nanoseconds."""

PACKET_START = f'42["{EVENT}","'.encode()
"""A packet as it arrives: Engine.IO message, Socket.IO event, its data. Of a
binary one the data arrive by themselves."""

NUMBER_END = NUMBER_DIGITS
CLOCK_START = NUMBER_DIGITS + 1
CLOCK_END = CLOCK_START + CLOCK_DIGITS


def make(number: int, size: int = SIZE, due: int | None = None) -> str:
    """Return the data of message ``number``.

    :param due: when it had to be emitted, in nanoseconds, if that is past.
                The clock is CLOCK_MONOTONIC, which all processes of a machine
                share.
    """
    clock = time.monotonic_ns() if due is None else due
    return f'{number:08d} {clock:020d} '.ljust(size, 'x')


def make_binary(number: int, size: int = SIZE,
                due: int | None = None) -> bytes:
    """Return the same as bytes."""
    return make(number, size, due).encode()
