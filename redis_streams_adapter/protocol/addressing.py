"""Turns the arguments of python-socketio's calls into parts of a message:
event arguments, rooms, targets. Pure."""
from typing import Any, Tuple

from .messages import EVERYONE, is_room, Room, Target

_new = tuple.__new__


def arguments(event: Any, data: Any) -> Tuple[Any, ...]:
    """The event's name, followed by its arguments.

    :param data: ``None``: no argument; a tuple: several; anything else: one.
    :raises TypeError: the name is neither a string nor an integer.
    """
    if not isinstance(event, (str, int)):
        raise TypeError(f'the name of an event must be a string, not '
                        f'{type(event).__name__}')
    if isinstance(data, tuple):
        return (event, *data)
    if data is None:
        return (event,)
    return (event, data)


def rooms(value: Any) -> Tuple[Room, ...]:
    """One or several rooms or sids, as a tuple.

    :raises TypeError: one of them is neither a string nor an integer, so
                       that other nodes could not find it.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple, set, frozenset)):
        found = tuple(each for each in value if each is not None)
    else:
        found = (value,)
    for room in found:
        if not is_room(room):
            raise TypeError(f'a room or a sid must be a string or an '
                            f'integer, not {type(room).__name__}')
    return found


def target(room: Any, skip_sid: Any) -> Target:
    """The clients that ``room`` and ``skip_sid`` address."""
    if skip_sid is None:
        if room is None:
            return EVERYONE
        if type(room) is str:
            # Most events; half of the time.
            return _new(Target, ((room,), (), EVERYONE.flags))
    return Target(rooms(room), rooms(skip_sid))
