"""How to connect: from a URL, or a client object, to a connection.

This package uses redis-py's *connections*, not its clients. A client retries
silently (redis-py 8: ten times, which stores an entry three times if two
replies are lost), keeps a pool that a fork would share, and takes most of the
time of a command. A connection does the handshake (TLS, AUTH, SELECT), packs
commands and parses replies, and nothing else. Connections use RESP2, because
its replies are the same under every version of redis-py.
"""
import os
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional
from urllib.parse import SplitResult

from ..errors import ConfigurationError
from ..parsing import ENCODE
from ..protocol.transport import Link
from .cluster_mode import ClusterMode
from .library import client_of, complaint, errors_of, import_library, \
    is_named, library_of
from .refusals import Refusals
from .topology import Address, Cluster, master_in, Members, Present, \
    Sentinels
from .url import credentials_of, database_of, hosts_of, options_of, \
    service_of, split_url

#: How long a command that does not block may take, in seconds, unless
#: ``socket_timeout`` is set. A frozen server is noticed after this time.
SOCKET_TIMEOUT = 5.0

#: Arguments of a client object or of the options that our connections do not
#: take over: retries, the protocol, and what belongs to a pool.
_OWN = frozenset((
    'retry', 'retry_on_timeout', 'retry_on_error', 'protocol',
    'decode_responses', 'health_check_interval', 'socket_timeout',
    'event_dispatcher', 'cache', 'cache_config', 'himport_registry'))

#: The options that name a file.
_FILES = ('ssl_certfile', 'ssl_keyfile', 'ssl_ca_certs')

#: What is wrong with another one.
ONE_DATABASE = 'a Redis Cluster has only database 0, so name no other'

Make = Callable[[float, str], Any]

SCHEMES = ('redis', 'rediss', 'unix', 'valkey', 'valkeys')


class Driver(NamedTuple):
    """The client library in use, and how it connects.

    :param module: the package: redis, or valkey, its twin.
    :param make: makes a connection that is not connected yet, given its
                 socket timeout in seconds and the key that it is for. It may
                 look up which server of a cluster has the key, so it may
                 block, and raise the client library's errors.
    :param socket_timeout: seconds, for commands that do not block.
    :param cluster: how to look up servers; ``None``: all keys are on one.
    :param database: the number of the database that connections select.
    :param mode: finds out whether the server is part of a cluster, if it is
                 named alone.
    :param refusals: the servers that refuse connections; ``None``: they are
                     asked again at any time.
    :param link: makes a link to a stream, given its key and its ``max_len``,
                 in place of a connection to Redis: for tests.
    """

    module: Any
    make: Make
    socket_timeout: float
    cluster: Optional[Cluster] = None
    database: int = 0
    link: Optional[Callable[[str, int], Link]] = None
    mode: Optional[ClusterMode] = None
    refusals: Optional[Refusals] = None

    def connecting_to(self, address: Optional[Address]) -> 'Driver':
        """How to connect to one server of a cluster.

        :param address: of that server; ``None``: as this driver connects.
        """
        if address is None or self.cluster is None:
            return self
        place, connect = address, self.cluster.connect
        return self._replace(make=lambda timeout, key: connect(timeout, place))


def open_driver(url: Any, options: Mapping[str, Any],
                service: str) -> Driver:
    """Work out how to connect. Nothing is connected yet.

    :param url: a URL, a client object of redis-py or valkey, or a driver.
    :param options: arguments for the connections, as redis-py has them.
    :param service: the service to ask Sentinels for if the URL does not name
                    one.
    :raises ConfigurationError: the scheme is unknown, the URL or an option
                                cannot be understood, or the package for it
                                is not installed. The text never holds the
                                URL, which may hold a password.
    """
    if isinstance(url, Driver):
        return url
    if not isinstance(url, str):
        module = library_of(url)
        try:
            return _of_client(module, url, options)
        except ConfigurationError:
            raise
        except (ValueError, TypeError) as exc:
            raise ConfigurationError(
                f'redis_options: {complaint(module, exc)}') from exc
    parts = split_url(url)
    base, _, topology = parts.scheme.partition('+')
    if base not in SCHEMES or topology not in ('', 'sentinel', 'cluster') \
            or (base == 'unix' and topology):
        raise ConfigurationError(
            f'url: unknown scheme {parts.scheme!r}; supported are redis, '
            f'rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster, '
            f'rediss+cluster, and the same with valkey')
    module = import_library('valkey' if base.startswith('valkey') else 'redis')
    try:
        if not topology:
            pool = module.ConnectionPool.from_url(
                url, **{**options, 'protocol': 2})
            return _of_pool(module, pool, {})
        kwargs = {**credentials_of(parts), **options_of(module, parts),
                  **options}
        if base in ('rediss', 'valkeys'):
            kwargs['ssl'] = True
        if topology == 'sentinel':
            return _of_sentinel(module, parts, kwargs, service)
        return _of_cluster(module, parts, kwargs)
    except (ValueError, TypeError, *errors_of(module)) as exc:
        if isinstance(exc, ConfigurationError):
            raise
        # Not chained: the cause of this error repeats a value of the URL. And
        # the query may be the end of a password.
        raise ConfigurationError(
            f'url: an option in the query is not valid; {ENCODE}'
            if '@' in parts.query
            else f'url or redis_options: {complaint(module, exc)}') from None


def _of_pool(module: Any, pool: Any, options: Mapping[str, Any]) -> Driver:
    """Connect as a pool does, but with our own connections."""
    kwargs = {**pool.connection_kwargs, **options}
    connect = _connector(module, kwargs, pool.connection_class)
    return Driver(module, lambda timeout, key: connect(timeout),
                  _timeout(kwargs.get('socket_timeout')),
                  database=_selected(kwargs), mode=ClusterMode(),
                  refusals=Refusals())


def _selected(kwargs: Mapping[str, Any]) -> int:
    """The database that a connection with these arguments selects."""
    return int(kwargs.get('db') or 0)


def _connector(module: Any, options: Mapping[str, Any],
               cls: Any = None) -> Callable[..., Any]:
    """Makes a function that makes connections, given their socket timeout
    and other arguments that differ between them.

    :param cls: their class; ``None``: the options decide it.
    :raises TypeError: an option is unknown.
    """
    kwargs = {name: value for name, value in options.items()
              if name not in _OWN
              and not name.startswith(('maint_', 'orig_'))}
    if cls is None:
        cls = module.connection.SSLConnection if kwargs.pop('ssl', False) \
            else module.connection.Connection
    for name in _FILES:
        # The error of a later connection would not name the file.
        path = kwargs.get(name)
        if path and not os.path.isfile(path):
            raise ConfigurationError(f'{name}: no such file: {path!r}')

    named = is_named(kwargs)

    def connect(timeout: float, **more: Any) -> Any:
        retry = module.retry.Retry(module.backoff.NoBackoff(), 0)
        connection = cls(**kwargs, **more, retry=retry, protocol=2,
                         socket_timeout=timeout)
        # Unix sockets of redis-py 5.0 ignore the argument.
        connection.socket_timeout = timeout
        if not named:
            # No CLIENT SETINFO, over which some proxies end the connection:
            # redis-py 5 to 7 and valkey-py, and redis-py 8.
            connection.lib_name = connection.lib_version = None
            connection.driver_info = None
        return connection

    # An unknown option fails here, not when Redis is first needed.
    connect(SOCKET_TIMEOUT)
    return connect


def _asker(module: Any, options: Mapping[str, Any],
           ) -> Callable[[Address], Any]:
    """Makes a function that connects to a Sentinel or cluster member, to ask
    which server to use."""
    connect = _connector(module, options)
    timeout = _timeout(options.get('socket_timeout'))
    return lambda address: connect(
        timeout, host=address[0], port=address[1])


def _timeout(value: Any) -> float:
    if value is None:
        return SOCKET_TIMEOUT
    if not isinstance(value, (int, float)) or not 0 < value <= 10**6:
        raise ConfigurationError(
            'redis_options: socket_timeout must be above 0 seconds')
    return float(value)


def _of_client(module: Any, client: Any,
               options: Mapping[str, Any]) -> Driver:
    pool = getattr(client, 'connection_pool', None)
    if hasattr(pool, 'sentinel_manager'):
        return _of_sentinel_pool(module, pool, options)
    if pool is not None:
        return _of_pool(module, pool, options)

    def make(timeout: float, key: str) -> Any:
        # Looked up for each connection: the slot may have moved.
        client.nodes_manager.initialize()
        return connection_to(client.get_node_from_key(key), timeout)

    def servers() -> Present:
        client.nodes_manager.initialize()
        return Present(*([(node.host, node.port) for node in some] for some in
                         (client.get_primaries(), client.get_replicas())))

    def places() -> Callable[[str], Any]:
        client.nodes_manager.initialize()

        def place(key: str) -> Any:
            try:
                node = client.get_node_from_key(key)
            except module.exceptions.SlotNotCoveredError:
                return None
            # A node of redis-py 5.0 is not hashable.
            return node and (node.host, node.port)
        return place

    def connect(timeout: float, address: Address) -> Any:
        host, port = address
        node = client.get_node(host=host, port=port)
        if node is None:
            # It has joined since.
            client.nodes_manager.initialize()
            node = client.get_node(host=host, port=port)
        return connection_to(node, timeout)

    def connection_to(node: Any, timeout: float) -> Any:
        if node is None:
            raise _no_server(module)
        pool = client_of(module, client, node).connection_pool
        return _of_pool(module, pool, options).make(timeout, '')

    if _selected(options):
        raise ConfigurationError(f'redis_options: {ONE_DATABASE}')
    _connector(module, options)
    return Driver(module, make, _timeout(options.get('socket_timeout')),
                  Cluster(servers, places, connect), _selected(options),
                  refusals=Refusals())


def _of_sentinel(module: Any, parts: SplitResult, kwargs: Dict[str, Any],
                 service: str) -> Driver:
    """``redis+sentinel://[user:password@]host:port,…/db/service``, as
    python-socketio spells it. Without a service, the name of the stream is
    the name of the service. With ``rediss``, TLS is used for the Sentinels,
    too."""
    kwargs['db'] = database_of(parts)
    socket_timeout = _timeout(kwargs.get('socket_timeout'))
    asking = {'socket_timeout': socket_timeout,
              'socket_connect_timeout': socket_timeout}
    of_sentinels = kwargs.pop('sentinel_kwargs', {})
    if parts.scheme.startswith(('rediss', 'valkeys')) \
            and of_sentinels.get('ssl', True):
        asking.update((name, value) for name, value in kwargs.items()
                      if name.startswith('ssl'))
    asking.update(of_sentinels)
    others = kwargs.pop('min_other_sentinels', 0)
    forced_host = kwargs.pop('force_master_ip', None)
    sentinels = Sentinels(
        _asker(module, asking), (OSError, *errors_of(module)), hosts_of(parts),
        module.exceptions.ConnectionError, service_of(parts) or service,
        others)
    return _told_by(module, sentinels, forced_host,
                    _connector(module, kwargs), socket_timeout,
                    _selected(kwargs))


def _of_sentinel_pool(module: Any, pool: Any,
                      options: Mapping[str, Any]) -> Driver:
    """The driver for a client that ``Sentinel.master_for`` has made."""
    manager = pool.sentinel_manager
    known = [each.connection_pool.connection_kwargs
             for each in manager.sentinels]
    asking = {name: value for name, value in known[0].items()
              if name not in ('host', 'port')}
    kwargs = {**pool.connection_kwargs, **options}
    kwargs.pop('connection_pool')
    kwargs['ssl'] = issubclass(
        pool.connection_class, module.connection.SSLConnection)
    sentinels = Sentinels(
        _asker(module, asking), (OSError, *errors_of(module)),
        [(each['host'], each['port']) for each in known],
        module.exceptions.ConnectionError, pool.service_name,
        manager.min_other_sentinels)
    return _told_by(
        module, sentinels, getattr(manager, '_force_master_ip', None),
        _connector(module, kwargs), _timeout(kwargs.get('socket_timeout')),
        _selected(kwargs))


def _told_by(module: Any, sentinels: Sentinels,
             forced_host: Optional[str], connect: Callable[..., Any],
             socket_timeout: float, database: int) -> Driver:
    """Connect to the master that the Sentinels report."""
    def make(timeout: float, key: str) -> Any:
        host, port = sentinels.master()
        return connect(timeout, host=forced_host or host, port=port)

    return Driver(module, make, socket_timeout, database=database,
                  refusals=Refusals())


def _of_cluster(module: Any, parts: SplitResult,
                kwargs: Dict[str, Any]) -> Driver:
    if database_of(parts) or _selected(kwargs):
        raise ConfigurationError(f'url: {ONE_DATABASE}')
    kwargs.setdefault('socket_timeout', None)
    kwargs['socket_timeout'] = _timeout(kwargs['socket_timeout'])
    connect = _connector(module, kwargs)
    members = Members(_asker(module, kwargs), (OSError, *errors_of(module)),
                      hosts_of(parts))

    def slot_of(key: str) -> int:
        return int(module.cluster.key_slot(key.encode()))

    def make(timeout: float, key: str) -> Any:
        address = members.master_of(slot_of(key))
        if address is None:
            raise _no_server(module)
        return at(timeout, address)

    def at(timeout: float, address: Address) -> Any:
        return connect(timeout, host=address[0], port=address[1])

    def places() -> Callable[[str], Any]:
        table = members.table()

        return lambda key: master_in(table, slot_of(key))

    return Driver(module, make, kwargs['socket_timeout'],
                  Cluster(members.present, places, at), _selected(kwargs),
                  refusals=members.refusals)


def _no_server(module: Any) -> Exception:
    error: Exception = module.exceptions.ConnectionError(
        'no server of the cluster serves the slot of the stream')
    return error
