"""The message that every scenario sends.

Each message carries its number and the moment of its emit, at fixed places,
so that a client can check order and measure latency by two slices, without
parsing JSON: clients must stay cheaper than the nodes they watch.
"""
import time

EVENT = 'm'
SIZE = 100
"""Characters of data in a message."""

NUMBER_DIGITS = 8
CLOCK_DIGITS = 20
"""Enough for any count of nanoseconds in 64 bits."""

PACKET_START = f'42["{EVENT}","'.encode()
"""A packet as it arrives: Engine.IO message, Socket.IO event, its data."""

NUMBER_END = NUMBER_DIGITS
CLOCK_START = NUMBER_DIGITS + 1
CLOCK_END = CLOCK_START + CLOCK_DIGITS


def make(number: int) -> str:
    """Return the data of message ``number``, emitted now.

    The clock is CLOCK_MONOTONIC, which is one for the whole machine.
    """
    return f'{number:08d} {time.monotonic_ns():020d} '.ljust(SIZE, 'x')
