"""The errors of this package, one tree::

    RedisStreamsError
    ├── ConfigurationError   (ValueError)    an option is wrong
    ├── ClusterTimeoutError  (TimeoutError)  not every answer came in time
    ├── OutboxFullError                      Redis has been away too long
    ├── EventTooLargeError   (ValueError)    it never fits into the outbox
    ├── NotStoredError                       Redis does not have it yet
    └── DecodeError                          an entry is not a valid message

Errors of Redis itself never leave the package. ``health()`` and the log show
a broken connection, and accepted messages are sent later.
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

    :param responses: the answers that arrived: responses, or sockets.
    :param missing: the uids of the nodes that did not answer, or whose
                    clients did not.
    :param received: the number of answers that arrived, if it differs from
                     the number of responses.
    :param expected: the number of answers that were expected, if it is not
                     ``received`` plus one for each missing node.
    :param reason: why it is not known which nodes have to answer.
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
        # By default a copy is made from the text of the exception, which is
        # not an argument of this one.
        return type(self), (self.responses, self.missing, *self._counts)


class OutboxFullError(RedisStreamsError):
    """The outbox is full: this message was refused, and not sent anywhere.

    Messages that were accepted before are kept, and sent when Redis is back.
    """


class EventTooLargeError(RedisStreamsError, ValueError):
    """This message is larger than the whole outbox: it was refused, and not
    sent anywhere. To emit it again is of no use."""


#: The errors of a message for which there is no room.
NO_ROOM = OutboxFullError, EventTooLargeError


class NotStoredError(RedisStreamsError):
    """Redis is not known to have stored this message: it is away, say, or the
    password is wrong. Raised with ``publish='confirmed'`` only.

    The message was accepted, and waits in the outbox: do not emit it again.
    ``flush()`` waits until Redis has it.
    """


class DecodeError(RedisStreamsError):
    """A stream entry does not hold a valid message.

    The text says what is wrong; it never quotes the payload.
    """
