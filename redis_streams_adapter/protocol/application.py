"""The application that a process belongs to.

Servers belong to one application if they read the same stream: the option
``stream_name`` in one database of one Redis. What lies beside the stream does
not show that. Channels of PUB/SUB know neither databases nor streams, and
several applications may keep their sessions in one database. Therefore each
message over PUB/SUB and each session carries the name of its application
under the key :data:`KEY`, and a server refuses what carries another one.

What carries none was written by a server in Node.js, which has no such key
and ignores ours, or by an older version of this package. Nobody can tell
whose it is, so it is accepted; only a different ``channel_prefix`` and
``session_key_prefix`` keep it apart. A session of that kind is accepted only
with the offset of an event that is in our stream, which keeps accidents rare:
two streams seldom have events of the same millisecond.

Pure.
"""
from typing import Any
from urllib.parse import quote

#: Where the name stands in a message over PUB/SUB and in a session.
KEY = 'app'


class Application:
    """One application on one Redis.

    :param stream_name: the option of this name.
    :param database: the number of the database that holds the stream.
    """

    def __init__(self, stream_name: str, database: int) -> None:
        #: Different for every other application on this Redis. It holds no
        #: ``#``, ``{`` or ``}``, which mean something in a channel's name.
        self.name = f'{database}:{quote(stream_name, safe="")}'

    def is_foreign(self, name: Any) -> bool:
        """Whether this is the name of another application.

        :param name: the value of :data:`KEY`, whatever it is; ``None``:
                     there was none.
        """
        return name is not None and name != self.name
