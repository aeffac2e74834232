"""Entries and sessions in Redis, and offsets of clients, read and written
without the package."""
import base64
import json
import re
from typing import Any, Dict, Mapping, Optional, Tuple

import msgpack
import redis


def load_data(data: Optional[str]) -> Any:
    """Decode the field ``data`` of an entry: JSON, or msgpack in base64.

    :return: ``None`` if there is no such field.
    """
    if data is None:
        return None
    if data.startswith('{'):
        return json.loads(data)
    return msgpack.unpackb(base64.b64decode(data, validate=True), timestamp=0)


def read_session(client: redis.Redis, key: str) -> Optional[Dict[str, Any]]:
    """The session that is stored under a key, if there is one."""
    raw: Any = client.get(key)
    if raw is None:
        return None
    session: Dict[str, Any] = msgpack.unpackb(base64.b64decode(raw))
    return session


def write_session(client: redis.Redis, key: str, session: Mapping[str, Any],
                  **options: Any) -> None:
    """Store a session under a key.

    :param options: the options of SET.
    """
    client.set(key, base64.b64encode(msgpack.packb(session)), **options)


def parse_offset(text: str) -> Tuple[int, int]:
    """The id of an entry as numbers that can be compared."""
    match = re.fullmatch('([0-9]+)-([0-9]+)', text)
    assert match, f'{text!r} is no offset'
    return int(match[1]), int(match[2])
