"""How many random examples a test takes.

``FEWER_EXAMPLES=4`` takes a quarter of them: enough to see that another
version of Python does the same.
"""
import os

FEWER = int(os.environ.get('FEWER_EXAMPLES') or '1')


def examples(number: int) -> int:
    """How many examples to take.

    :param number: how many in a full run.
    """
    return -(-number // FEWER)
