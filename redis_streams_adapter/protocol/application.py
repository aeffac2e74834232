"""The application that a process belongs to.

Servers belong to one application if they read the same stream: the option
``stream_name`` in one database of one Redis. What is outside the stream does
not show that. PUB/SUB channels know neither databases nor streams, and several
applications may keep their sessions in one database. Therefore each message
over PUB/SUB and each session carries the name of its application under the key
:data:`KEY`. A server refuses a message or a session with another name.

One without a name comes from a server in Node.js, which has no such key and
ignores ours, or from an older version of this package. Its application is
unknown, so it is accepted. Only a different ``channel_prefix`` and
``session_key_prefix`` keep such applications apart. A session without a name
must also hold the offset of an event that is in our stream. That keeps
accidents rare: two streams seldom have events of the same millisecond.

Pure.
"""
from typing import Any
from urllib.parse import quote

#: The key of the name, in a message over PUB/SUB and in a session.
KEY = 'app'


class Application:
    """One application on one Redis.

    :param stream_name: the option of this name.
    :param database: the number of the database that holds the stream.
    """

    def __init__(self, stream_name: str, database: int) -> None:
        #: Unique on this Redis. It holds no ``#``, ``{`` or ``}``, which have
        #: a meaning in the name of a channel.
        self.name = f'{database}:{quote(stream_name, safe="")}'

    def is_foreign(self, name: Any) -> bool:
        """Whether this is the name of another application.

        :param name: the value of :data:`KEY`, of any type; ``None``: the key
                     is missing.
        """
        return name is not None and name != self.name
