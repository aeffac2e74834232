"""``doctor``: which rights does a user of the access control list lack?

Redis 7 says whether a user may send a command, without running it: ``ACL
DRYRUN``. Elsewhere, and to a user who may not ask that, each command is sent
in a form that changes nothing: with an id that no entry can have, or for a key
that does not exist.

``docs/compatibility.rst`` has the same commands; a test compares them.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import secrets
from typing import NamedTuple

from ..options import Options
from ..protocol.routing import inbox_key, public_channel
from .findings import Finding, fine, found, unknown
from .place import Place
from .reading import Redis, Refused

CHECK = 'rights'

#: How errors of missing commands and rights begin, or what is in them. The
#: client library may cut their first word off.
_DENIED = ('NOPERM', 'no permissions', 'unknown command',
           'unknown subcommand', 'not supported', 'not allowed',
           'not found')

#: Whether these are checked.
ALWAYS, RECOVERY, RETENTION, REPLICAS, PUBSUB, SHARDED, DATABASE, CLUSTER = (
    'always', 'recovery', 'retention', 'min_replicas', 'pubsub',
    'sharded-pubsub', 'database', 'cluster')


class Right(NamedTuple):
    """A command that servers send.

    :param command: as an access control list names it.
    :param call: a call that changes nothing. ``{stream}``, ``{inbox}``,
                 ``{session}`` and ``{channel}`` stand for names.
    :param without: what happens if the right is missing.
    :param needed: what needs it.
    :param safe: whether that call may really be made.
    """

    command: str
    call: str
    without: str
    needed: str = ALWAYS
    safe: bool = True

    @property
    def words(self) -> list[str]:
        """The call."""
        return self.call.split()


#: The id of a client that does not exist: the highest one.
NO_CLIENT = 2**63 - 1

_NOTHING_SENT = 'no event is sent'
_NO_PUBSUB = 'requests to other servers end with an error'
_NO_RECOVERY = 'a client that returns is a new one'
_IN_THE_STREAM = 'answers to requests go into the stream'
_LEFT_OPEN = 'a broken connection may leave a second copy of an event'

RIGHTS = (
    Right('xadd', 'XADD {stream} NOMKSTREAM 0-0 uid doctor', _NOTHING_SENT),
    Right('xread', 'XREAD COUNT 1 STREAMS {stream} $',
          'no event is received'),
    Right('xread|block', 'XREAD COUNT 1 BLOCK 1 STREAMS {stream} $',
          'events are late by up to a quarter of a second'),
    Right('xinfo|stream', 'XINFO STREAM {stream}',
          'servers need EVAL in its place, or no event is received'),
    Right('time', 'TIME', 'servers need EVAL in its place'),
    Right('multi', 'MULTI', 'events are written one by one'),
    Right('exec', 'EXEC', 'events are written one by one'),
    Right('eval', 'EVAL return(1) 1 {stream}',
          'a server cannot get past a very large entry'),
    Right('client|info', 'CLIENT INFO', _LEFT_OPEN),
    # Never with 0, which would stand for all clients.
    Right('client|kill', f'CLIENT KILL ID {NO_CLIENT}', _LEFT_OPEN),
    Right('xdel', 'XDEL {inbox} 0-1', _IN_THE_STREAM),
    Right('pexpire', 'PEXPIRE {inbox} 1', _IN_THE_STREAM),
    Right('xtrim', 'XTRIM {stream} MINID 0-0', 'no event is sent',
          RETENTION),
    Right('wait', 'WAIT 0 1', _NOTHING_SENT, REPLICAS),
    Right('get', 'GET {session}', _NO_RECOVERY, RECOVERY),
    Right('set', 'SET {session} x PX 1 XX', _NO_RECOVERY, RECOVERY),
    Right('del', 'DEL {session}', _NO_RECOVERY, RECOVERY),
    Right('xrange', 'XRANGE {stream} - + COUNT 1', _NO_RECOVERY, RECOVERY),
    Right('xrevrange', 'XREVRANGE {stream} + - COUNT 1', _NO_RECOVERY,
          RECOVERY),
    Right('subscribe', 'SUBSCRIBE {channel}', _NO_PUBSUB, PUBSUB, False),
    Right('unsubscribe', 'UNSUBSCRIBE {channel}', _NO_PUBSUB, PUBSUB, False),
    Right('publish', 'PUBLISH {channel} x', _NO_PUBSUB, PUBSUB, False),
    Right('pubsub|numsub', 'PUBSUB NUMSUB {channel}', _NO_PUBSUB, PUBSUB),
    Right('ping', 'PING', _NO_PUBSUB, PUBSUB),
    Right('ssubscribe', 'SSUBSCRIBE {channel}', _NO_PUBSUB, SHARDED, False),
    Right('sunsubscribe', 'SUNSUBSCRIBE {channel}', _NO_PUBSUB, SHARDED,
          False),
    Right('spublish', 'SPUBLISH {channel} x', _NO_PUBSUB, SHARDED, False),
    Right('pubsub|shardnumsub', 'PUBSUB SHARDNUMSUB {channel}', _NO_PUBSUB,
          SHARDED),
    Right('select', 'SELECT {database}', _NOTHING_SENT, DATABASE),
    Right('cluster|slots', 'CLUSTER SLOTS', _NOTHING_SENT, CLUSTER))


def _used(place: Place) -> set[str]:
    """What the options need."""
    options: Options = place.options
    return {ALWAYS, options.request_transport, *(
        name for name, is_on in (
            (RECOVERY, options.recovery is not None),
            (RETENTION, options.retention is not None),
            (REPLICAS, options.min_replicas > 0),
            (DATABASE, place.driver.database != 0),
            (CLUSTER, place.driver.cluster is not None)) if is_on)}


def check_rights(redis: Redis, place: Place,
                 user: str | None) -> Iterator[Finding]:
    """Check the rights of a user.

    :param user: its name; ``None``: the user of the URL.
    :raises Unavailable: Redis cannot be reached.
    """
    stream = place.streams[0]
    token = secrets.token_hex(4)
    options = place.options
    names = {
        'stream': stream, 'database': str(place.driver.database),
        'inbox': inbox_key(options.stream_name, f'doctor-{token}'),
        'session': f'{options.session_key_prefix}doctor-{token}',
        'channel': public_channel(options.channel_prefix,
                                  f'/doctor-{token}')}
    used = _used(place)
    rights = [each for each in RIGHTS if each.needed in used]
    refusals = _dry_run(redis, stream, user, rights, names)
    if refusals is None:
        if user is not None:
            yield unknown(CHECK, f'the rights of the user {user!r} cannot be '
                          'found out: that takes Redis 7, a user of this '
                          'name, and the right +acl|dryrun')
            return
        refusals = _try(redis, stream, rights, names)
    for right, reason in zip(rights, refusals):
        if reason:
            yield _missing(right, reason, names, options, user)
    if not any(refusals):
        yield fine(CHECK, f'{len(rights)} commands are permitted, as the '
                   'options in the URL need them')


def _dry_run(redis: Redis, key: str, user: str | None,
             rights: Sequence[Right], names: Mapping[str, str],
             ) -> list[str] | None:
    """Ask whether commands are permitted, without running them.

    :return: the reason for each that is not; ``None``: Redis does not say.
    """
    try:
        name = redis.ask(key, b'ACL', b'WHOAMI') if user is None \
            else user.encode()
        redis.ask(key, b'ACL', b'DRYRUN', name, b'PING')
    except Refused:
        return None
    replies = redis.ask_all([
        (key, (b'ACL', b'DRYRUN', name, *_words(each, names)))
        for each in rights])
    return ['' if reply == b'OK' else reply.decode('utf-8', 'replace')
            if isinstance(reply, bytes) else str(reply) for reply in replies]


def _try(redis: Redis, key: str, rights: Sequence[Right],
         names: Mapping[str, str]) -> list[str]:
    """Send commands in a form that changes nothing.

    :return: the reason for each that is refused.
    """
    safe = [each for each in rights if each.safe]
    replies = dict(zip(safe, redis.ask_all(
        [(key, _words(each, names)) for each in safe])))
    # It may be left within a MULTI.
    redis.renew()
    return [str(reply) if isinstance(reply := replies.get(each), Exception)
            and _is_denied(reply) else '' for each in rights]


def _is_denied(error: Exception) -> bool:
    text = f'{type(error).__name__} {error}'.lower()
    return any(each.lower() in text for each in (
        *_DENIED, 'NoPermissionError'))


def _words(right: Right, names: Mapping[str, str]) -> list[bytes]:
    # Filled in word by word: a name may have blanks.
    return [each.format(**names).encode() for each in right.words]


def _missing(right: Right, reason: str, names: Mapping[str, str],
             options: Options, user: str | None) -> Finding:
    """What to do about a missing right."""
    shown = right.command.replace('|', ' ').upper()
    rule = f'+{right.command.removesuffix("|block")}'
    if ' key' in reason:
        # The command is permitted, for other keys.
        name = next((each for each in ('inbox', 'session', 'stream')
                     if '{%s}' % each in right.call), 'stream')
        rule = {'inbox': f'~{options.stream_name}:answers:*',
                'session': f'~{options.session_key_prefix}*',
                'stream': f'~{names["stream"]}'}[name]
    elif ' channel' in reason:
        rule = f'&{options.channel_prefix}#*'
    if right.command == 'xread|block' or 'unknown' in reason \
            or 'not found' in reason or 'not supported' in reason:
        return found(CHECK, f'{shown} is refused: {right.without}; ask who '
                     f'runs the server or the proxy, or give the user '
                     f'{rule}')
    who = 'the user' if user is None else f'the user {user}'
    return found(CHECK, f'{shown} is not permitted: {right.without}; give '
                 f'{who} the right {rule} (ACL SETUSER)')
