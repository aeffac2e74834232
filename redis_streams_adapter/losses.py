"""What is known to be lost, or must be taken for lost.

Redis may forget what it has: entries are trimmed, streams are deleted, a
replica that was behind takes over. Nothing of this is passed over in
silence: each is counted in ``stats()``, logged, and told to ``on_loss``.

================  =====================  ===================================
kind              counter                what was found
================  =====================  ===================================
``missing``       ``messages_lost``      a gap in the numbers of a process:
                                         so many messages never came to us
``deleted``       ``streams_deleted``    the stream is gone, or is another
                                         one than before
``set-back``      ``stream_setbacks``    the stream ends before the place
                                         that we had read up to: a replica
                                         that was behind has taken over
``vanished``      ``messages_vanished``  messages of ours that Redis had
                                         acknowledged are not there any
                                         more; who had not read them yet
                                         never will
================  =====================  ===================================
"""
from dataclasses import dataclass
from typing import Optional

MISSING = 'missing'
DELETED = 'deleted'
SET_BACK = 'set-back'
VANISHED = 'vanished'


@dataclass(frozen=True)
class Loss:
    """One loss that was detected; what ``on_loss`` is called with.

    :param kind: ``'missing'``, ``'deleted'``, ``'set-back'`` or
                 ``'vanished'``, see the module.
    :param stream: the key of the stream.
    :param count: how many messages are lost; ``None`` where nobody can know.
    :param uid: of ``'missing'`` ones: the id of the process that had sent
                them.
    """

    kind: str
    stream: str
    count: Optional[int] = None
    uid: Optional[str] = None

    def __str__(self) -> str:
        if self.kind == MISSING:
            return (f'messages are missing: {self.count} of process '
                    f'{self.uid} in stream {self.stream!r}; they were '
                    f'trimmed before this node could read them (max_len is '
                    f'too small), or lost or refused by Redis')
        if self.kind == DELETED:
            return (f'the stream {self.stream!r} was deleted; what others '
                    f'had not read yet is lost')
        if self.kind == SET_BACK:
            return (f'the stream {self.stream!r} ends before what was read '
                    f'of it: a replica that was behind has taken over; '
                    f'messages may be lost')
        return (f'{self.count} messages of this process that Redis had '
                f'acknowledged are gone from stream {self.stream!r}; who had '
                f'not read them yet never will')
