"""The kinds of records that the package logs, and their fields.

Each record has the extra fields ``event``, ``node``, ``stream`` and
``namespace``, and those that its kind has here. So a formatter can name the
first four, and a search for records of one kind does not depend on their
texts. ``docs/logging.rst`` describes each kind and field; a test compares it
with this table.

A kind is called with the values of its fields, and returns the ``extra`` of a
logger's method. What does not apply is ``None``. ``node`` and ``stream`` are
filled in by :class:`~redis_streams_adapter.concurrency.log_context.\
ContextLogger`.

No field may have the name of an attribute that logging gives to a record.
No field contains what the text of the line would not show: neither passwords
nor the names of sessions.
"""
from logging import DEBUG, ERROR, INFO, WARNING
from typing import Any, Dict, NamedTuple, Tuple

#: The fields of every record.
COMMON = 'event', 'node', 'stream', 'namespace'

#: All kinds, by their names. Complete when this module is imported.
EVENTS: Dict[str, 'LogEvent'] = {}


class LogEvent(NamedTuple):
    """One kind of records.

    :param levels: the levels that its records can have.
    :param fields: what its records have besides :data:`COMMON`.
    """

    name: str
    levels: Tuple[int, ...]
    fields: Tuple[str, ...]

    def __call__(self, **fields: Any) -> Dict[str, Any]:
        """The ``extra`` of a record."""
        return {'event': self.name, 'node': None, 'stream': None,
                'namespace': None, **fields}


def _kind(name: str, *fields: str, levels: Tuple[int, ...]) -> LogEvent:
    event = EVENTS[name] = LogEvent(name, levels, fields)
    return event


def _debug(name: str, *fields: str) -> LogEvent:
    return _kind(name, *fields, levels=(DEBUG,))


def _info(name: str, *fields: str) -> LogEvent:
    return _kind(name, *fields, levels=(INFO,))


def _warning(name: str, *fields: str) -> LogEvent:
    return _kind(name, *fields, levels=(WARNING,))


def _error(name: str, *fields: str) -> LogEvent:
    return _kind(name, *fields, levels=(ERROR,))


def _of_members(name: str, *fields: str) -> LogEvent:
    """Debug for namespaces that this node does not serve."""
    return _kind(name, *fields, levels=(INFO, DEBUG))


# -- whether Redis can be used ------------------------------------------------

CONNECTION_LOST = _info('connection_lost', 'service', 'task', 'reason')
REDIS_AWAY = _warning('redis_away', 'service', 'task', 'reason')
REDIS_STILL_AWAY = _warning('redis_still_away', 'service', 'task', 'reason',
                            'count', 'seconds')
REDIS_BACK = _warning('redis_back', 'service', 'count', 'seconds')

# -- the cluster --------------------------------------------------------------

JOINED = _info('joined')
LEFT = _info('left', 'count', 'seconds')
NODE_PRESENT = _of_members('node_present', 'other_node', 'count')
NODE_JOINED = _of_members('node_joined', 'other_node', 'count')
NODE_LEFT = _of_members('node_left', 'other_node', 'count')
NODE_SILENT = _of_members('node_silent', 'other_node', 'count')
SIGN_OF_LIFE_DROPPED = _debug('sign_of_life_dropped')

# -- messages -----------------------------------------------------------------

MESSAGES_LOST = _error('messages_lost', 'loss', 'other_node', 'count', 'total')
MORE_LOST = _error('more_lost', 'loss', 'total')
ON_LOSS_FAILED = _error('on_loss_failed')
OUTBOX_LOST = _error('outbox_lost', 'count')
MESSAGE_REFUSED = _error('message_refused', 'reason')
MESSAGE_SKIPPED = _warning('message_skipped', 'reason')
MESSAGE_NOT_CARRIED_OUT = _warning('message_not_carried_out', 'reason')
ENTRY_FAILED = _error('entry_failed', 'entry')
REQUEST_FAILED = _error('request_failed')
VALUE_NOT_SENT = _debug('value_not_sent', 'reason')
LINES_REPEATED = _kind('lines_repeated', 'repeated', 'count', 'seconds',
                       levels=(INFO, WARNING, ERROR))

# -- tasks --------------------------------------------------------------------

TASK_FAILED = _error('task_failed', 'task', 'reason')
TASK_INTERRUPTED = _error('task_interrupted', 'task')
TASK_ENDED = _error('task_ended', 'task', 'reason')
TASK_STALLED = _error('task_stalled', 'task', 'seconds')
TASK_RESUMED = _warning('task_resumed', 'task', 'seconds')

# -- servers that cannot do everything ----------------------------------------

INBOX_REFUSED = _warning('inbox_refused', 'reason')
INBOX_ALLOWED = _info('inbox_allowed')
ANSWERS_REFUSED = _warning('answers_refused', 'reason')
ANSWERS_ALLOWED = _info('answers_allowed')
READS_DO_NOT_WAIT = _warning('reads_do_not_wait')
READS_WAIT = _info('reads_wait')
MULTI_REFUSED = _warning('multi_refused')
MULTI_ALLOWED = _info('multi_allowed')
USED_IN_UWSGI_MASTER = _warning('used_in_uwsgi_master')

# -- clients ------------------------------------------------------------------

INITIALIZED = _info('initialized')
CLIENT_TURNED_AWAY = _info('client_turned_away', 'reason')
CONNECTION_CLOSED = _info('connection_closed', 'reason')
ROOM_NOT_ENTERED = _warning('room_not_entered', 'sid', 'reason')
DISCONNECT_HANDLER_FAILED = _error('disconnect_handler_failed', 'sid')
SERVER_SIDE_HANDLER_FAILED = _error('server_side_handler_failed', 'handler')
SPAN_FAILED = _error('span_failed')
ADMIN_UI_OUTDATED = _info('admin_ui_outdated', 'reason')
ADMIN_UI_CURRENT = _info('admin_ui_current')
WEBSOCKET_UNCHANGED = _debug('websocket_unchanged', 'reason')

# -- clients that come back ---------------------------------------------------

CLIENT_RECOVERED = _info('client_recovered', 'sid', 'count')
CLIENT_NOT_RECOVERED = _info('client_not_recovered', 'sid', 'reason')
CLIENT_HAS_TO_RECONNECT = _info('client_has_to_reconnect', 'sid')
ACCEPTS_FAILED = _error('accepts_failed', 'sid')
RESEND_FAILED = _error('resend_failed', 'entry')
SESSION_NOT_KEPT = _kind('session_not_kept', 'sid', 'reason',
                         levels=(WARNING, INFO))
SESSION_OUTDATED = _info('session_outdated', 'sid')
SESSION_INVALID = _info('session_invalid', 'reason')
SESSION_NOT_WRITTEN = _debug('session_not_written', 'sid', 'reason')
SESSION_NOT_COPIED = _debug('session_not_copied', 'sid', 'reason')
SESSIONS_REFUSED = _warning('sessions_refused', 'reason')
SESSIONS_ACCEPTED = _info('sessions_accepted')
SESSIONS_NOT_WRITTEN = _warning('sessions_not_written', 'reason')
FLASK_SESSION_NOT_KEPT = _warning('flask_session_not_kept', 'sid')
FLASK_SESSION_NOT_RESTORED = _info('flask_session_not_restored', 'sid',
                                   'reason')
