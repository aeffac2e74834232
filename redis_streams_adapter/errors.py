"""The errors of this package, one tree::

    RedisStreamsError
    ├── ConfigurationError   (ValueError)    an option is wrong
    ├── ClusterTimeoutError  (TimeoutError)  somebody did not answer in time
    ├── OutboxFullError                      Redis is away for too long
    └── DecodeError                          an entry is not a valid message

Errors of Redis itself never leave the package: a broken connection shows in
``health()`` and in the log, and what was accepted is sent later.
"""
from typing import Any, Optional, Sequence, Tuple


class RedisStreamsError(Exception):
    """The base class of every error that this package raises."""


class ConfigurationError(RedisStreamsError, ValueError):
    """An option, a URL or a combination of them is wrong.

    The text names the option. Raised at construction, never later.
    """


class ClusterTimeoutError(RedisStreamsError, TimeoutError):
    """Not every node or client answered in time.

    :param responses: what did arrive: responses, or the sockets found.
    :param missing: the uids of the nodes that did not answer, or whose
                    clients did not.
    :param received: how many answers did arrive, where not each of them is
                     one of the responses.
    :param expected: how many were expected, where that is not one more for
                     each node that is missing.
    :param reason: why it is not even known who has to answer.
    """

    def __init__(self, responses: Sequence[Any] = (),
                 missing: Sequence[str] = (),
                 received: Optional[int] = None,
                 expected: Optional[int] = None,
                 reason: Optional[str] = None) -> None:
        self.responses = list(responses)
        self.missing = list(missing)
        self._counts = received, expected, reason
        if received is None:
            received = len(self.responses)
        if expected is None:
            expected = received + len(self.missing)
        if reason is None or received < expected:
            super().__init__(f'timeout reached: only {received} responses '
                             f'received out of {expected}')
        else:
            super().__init__(f'timeout reached: {reason}')

    def __reduce__(self) -> Tuple[Any, ...]:
        # Exceptions are copied from their text, which is not what this one
        # is made of.
        return type(self), (self.responses, self.missing, *self._counts)


class OutboxFullError(RedisStreamsError):
    """The outbox is full: this message was refused, and not sent anywhere.

    All that was accepted before is kept, and sent when Redis is back.
    """


class DecodeError(RedisStreamsError):
    """A stream entry does not hold a valid message.

    The text says what is wrong; it never repeats the payload.
    """
