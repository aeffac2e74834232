"""What happens to single commands of a stream in memory."""
from enum import Enum


class Fault(Enum):
    """What happens to one command."""

    #: None: the command works. To let some pass before a fault.
    NONE = 'none'
    #: The connection breaks before the server has the command.
    BREAK_BEFORE = 'break before'
    #: The server executes it; the connection breaks before the reply.
    BREAK_AFTER = 'break after'
    #: The connection breaks for the client. The server has the command in a
    #: buffer, and executes it when it arrives, unless the connection is ended
    #: on its side before.
    BREAK_LATE = 'break late'
    #: An error reply; the connection stays.
    ERROR = 'error'
    #: The server executes it; too few replicas have it in time.
    LAG = 'lag'
