"""The Redis server of a run, private and without persistence."""
import redis

from redis_streams_adapter.demo.embedded import EmbeddedRedis, \
    EmbeddedRedisError

__all__ = ['EmbeddedRedisError', 'RedisServer']

WRITES = frozenset(('append', 'del', 'getdel', 'getset', 'psetex', 'set',
                    'setex', 'unlink'))
"""Commands that write a plain key: only sessions are plain keys. Commands of a
script count, too; commands that only renew an expiry do not write."""


class RedisServer(EmbeddedRedis):
    """A private server that also reports what it has used."""
    def __init__(self) -> None:
        super().__init__()
        self._client = redis.Redis(host=self.host, port=self.port)
        self.version = str(self._client.info('server')['redis_version'])

    def __enter__(self) -> 'RedisServer':
        return self

    def cpu(self) -> float:
        """Return the seconds of CPU that the server has used so far."""
        info = self._client.info('cpu')
        return float(info['used_cpu_user'] + info['used_cpu_sys'])

    def traffic(self) -> tuple[int, int]:
        """Return the bytes that the server has received and sent so far."""
        info = self._client.info('stats')
        return (int(info['total_net_input_bytes']),
                int(info['total_net_output_bytes']))

    def pause(self, seconds: float) -> None:
        """Let the server carry out nothing for so long."""
        self._client.client_pause(int(seconds * 1000))

    def session_writes(self) -> int:
        """Return how often a session was written so far."""
        calls = self._client.info('commandstats')
        return sum(int(calls.get(f'cmdstat_{name}', {}).get('calls', 0))
                   for name in WRITES)
