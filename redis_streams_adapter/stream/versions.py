"""Is a server new enough?

Servers that are not Redis call themselves compatible with some version of it:
Valkey 9 with Redis 7.2.4, others with one that is older than what they can do.
So only a server that has no other name is judged by that number.
"""
import re
from typing import Optional

#: The oldest Redis that has what this package uses: ``XADD … MINID``,
#: exclusive ranges, and CLIENT INFO.
OLDEST = (6, 2)

#: The versions in the reply to INFO, such as ``redis_version`` and
#: ``valkey_version``.
_VERSIONS = re.compile(rb'^(\w+)_version:(\S+)', re.MULTILINE)

#: The one that is not the server's.
_COMPILER = b'gcc'


def find_too_old(info: bytes) -> Optional[str]:
    """What is wrong with a server; ``None``: nothing is known to be.

    :param info: its reply to ``INFO server``.
    """
    found = dict(_VERSIONS.findall(info))
    found.pop(_COMPILER, None)
    version = found.pop(b'redis', b'')
    numbers = re.match(rb'(\d+)\.(\d+)', version)
    if found or numbers is None \
            or tuple(map(int, numbers.groups())) >= OLDEST:
        return None
    return 'needs Redis %d.%d or newer, this is Redis %s' % (
        *OLDEST, version.decode())
