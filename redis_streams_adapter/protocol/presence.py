"""Which namespaces a server serves in one stream, and how it says so in few
entries. Pure.

A server writes one sign of life for a stream, whatever the number of its
namespaces. It names them by a *digest* of their set. Servers with the same
namespaces have the same digest, so a reader that knows one such set knows the
set of all of them. What a server begins and ceases to serve is written once,
with the digest of the set after that. The whole list is only written when
another server asks, because it does not know the set.

Lists are written in pages of :data:`PAGE_BYTES`. A page with more to come says
so, and a reader does not ask for the rest.

These are the fields. Node.js and older versions of this package ignore them.

============  ==============================================================
``presence``  of signs of life: the digest of the set; :data:`EMPTY`: the
              server leaves the stream
``joins``     the namespaces that are served from now on, as a list in JSON
``leaves``    those that no longer are
``list``      the whole list begins: what was known before does not count
``more``      the next entry of this kind continues this one
``process``   the id of the process of the server, ``@``, and the name of its
              host
``wants``     of a HEARTBEAT of an emitter: the uid of the server that is
              asked for its set; empty: all are asked for their digests
``knows``     the digest that the server that asks knows: if it is right,
              the answer has no list
============  ==============================================================
"""
import json
from hashlib import blake2b
from typing import FrozenSet, Iterable, Iterator, List, Mapping, \
    NamedTuple, Optional, Tuple

from ..errors import DecodeError
from .json_parser import load_json

#: How many bytes of names an entry has, about: a few hundred names. A longer
#: entry takes a reader more time than it may hold other tasks up.
PAGE_BYTES = 16 * 1024

#: The longest text of a digest that is accepted. Another version may have
#: another one, which is known from lists alone.
MAX_DIGEST = 128

_BITS = 128

#: The longest name of a host, and id of a process, that is accepted, in bytes.
MAX_HOST, MAX_PID = 255, 19


class NamespaceSet:
    """A set of namespaces with its digest. It does not change.

    The digest is the sum of the hashes of the names, so a change takes no
    time for the names that stay. It guards against errors, not against
    somebody who chooses names so that two sets have one digest: that harms
    those namespaces only.
    """

    __slots__ = ('names', 'digest', '_sum')

    def __init__(self, names: FrozenSet[str] = frozenset(),
                 total: int = 0) -> None:
        self.names = names
        self._sum = total
        self.digest = '%032x' % total

    def plus(self, names: Iterable[str]) -> 'NamespaceSet':
        """The set with these names, too."""
        new = frozenset(names) - self.names
        return self if not new else NamespaceSet(
            self.names | new, (self._sum + _total(new)) % 2**_BITS)

    def minus(self, names: Iterable[str]) -> 'NamespaceSet':
        """The set without these names."""
        old = self.names.intersection(names)
        return self if not old else NamespaceSet(
            self.names - old, (self._sum - _total(old)) % 2**_BITS)


def _total(names: Iterable[str]) -> int:
    # A name that came in JSON may hold half of a surrogate pair.
    return sum(int.from_bytes(blake2b(
        name.encode('utf-8', 'surrogatepass'), digest_size=_BITS // 8
    ).digest(), 'big') for name in names)


#: The digest of no namespace.
EMPTY = NamespaceSet().digest


class Presence(NamedTuple):
    """What a sign of life says about the namespaces of its writer."""

    digest: str
    joins: Tuple[str, ...] = ()
    leaves: Tuple[str, ...] = ()
    begins: bool = False
    more: bool = False

    def fields(self, process: bytes = b'') -> Tuple[bytes, ...]:
        """The fields of an entry.

        :param process: the process that writes it.
        """
        fields: Tuple[bytes, ...] = (b'presence', self.digest.encode())
        for name, names in (b'joins', self.joins), (b'leaves', self.leaves):
            if names:
                fields += name, _dump(names)
        if self.begins:
            fields += b'list', b'1'
        if self.more:
            fields += b'more', b'1'
        if process and self.digest != EMPTY:
            fields += b'process', process
        return fields


class Question(NamedTuple):
    """A question to one server for its namespaces.

    :param uid: that server; empty: all of them, for their digests.
    :param digest: that of the set that the asking server knows.
    """

    uid: str
    digest: str

    def fields(self, _: bytes = b'') -> Tuple[bytes, ...]:
        """The fields of an entry."""
        return b'wants', self.uid.encode(), b'knows', self.digest.encode()


def read_presence(extra: Mapping[bytes, bytes],
                  longest: int) -> Optional[Presence]:
    """Read what an entry says about the namespaces of its writer.

    :param extra: its fields.
    :param longest: how many bytes a name may have.
    :return: ``None``: nothing.
    :raises DecodeError: it is not what it should be.
    """
    digest = extra.get(b'presence')
    if digest is None:
        return None
    return Presence(_text(digest, 'presence'),
                    _names(extra.get(b'joins'), 'joins', longest),
                    _names(extra.get(b'leaves'), 'leaves', longest),
                    b'list' in extra, b'more' in extra)


class Process(NamedTuple):
    """Where a server runs."""

    host: Optional[str] = None
    pid: Optional[int] = None


def process_field(host: str, pid: int) -> bytes:
    """The field ``process``. A name of a host that is too long is cut."""
    return b'%d@%b' % (pid, host.encode()[:MAX_HOST].decode(
        errors='ignore').encode())


def read_process(raw: Optional[bytes]) -> Process:
    """Read the field ``process``.

    :raises DecodeError: it is not what it should be.
    """
    if raw is None:
        return Process()
    pid, _, host = raw.partition(b'@')
    if not pid.isdigit() or len(pid) > MAX_PID or len(host) > MAX_HOST:
        raise DecodeError('field process is invalid')
    return Process(_text(host, 'process', MAX_HOST) if host else None,
                   int(pid))


def asks_everyone(extra: Optional[Mapping[bytes, bytes]]) -> bool:
    """Whether an entry with these fields asks all servers of a stream."""
    return extra is not None and extra.get(b'wants') == b''


def read_question(extra: Mapping[bytes, bytes]) -> Optional[Question]:
    """Read which server is asked for its namespaces.

    :return: ``None``: none is.
    :raises DecodeError: it is not what it should be.
    """
    uid = extra.get(b'wants')
    return None if uid is None else Question(
        _text(uid, 'wants', None), _text(extra.get(b'knows', b''), 'knows'))


def _text(raw: bytes, field: str,
          longest: Optional[int] = MAX_DIGEST) -> str:
    try:
        if longest is not None and len(raw) > longest:
            raise DecodeError(f'field {field} is too long')
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise DecodeError(f'field {field} is not UTF-8') from exc


def _names(raw: Optional[bytes], field: str,
           longest: int) -> Tuple[str, ...]:
    if raw is None:
        return ()
    names = load_json(raw)
    if not isinstance(names, list):
        raise DecodeError(f'field {field} is not a list')
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= longest:
            raise DecodeError(f'field {field} holds an invalid name')
    return tuple(names)


def _dump(names: Iterable[str]) -> bytes:
    return json.dumps(list(names), separators=(',', ':')).encode()


def read_names(raw: Optional[bytes]) -> List[str]:
    """The names in a field that this process has written itself."""
    return [] if raw is None else json.loads(raw)


def pages(names: Iterable[str]) -> Iterator[Tuple[str, ...]]:
    """Divide names into pages."""
    page: List[str] = []
    size = 0
    for name in names:
        if page and size > PAGE_BYTES:
            yield tuple(page)
            page, size = [], 0
        page.append(name)
        size += len(name) + 3
    if page:
        yield tuple(page)
