"""URLs with options of the manager in their query."""
from typing import Any, Dict

import pytest

from redis_streams_adapter import ConfigurationError, RedisStreamsManager
from redis_streams_adapter.streams_url import is_ours, read, \
    refuse_look_alikes

URL = 'redis+streams://host:7000/2?max_len=5&client_name=x'

#: Schemes that are only spelt in another way.
LOOK_ALIKES = [
    'redis+stream', 'REDIS+STREAMS', 'Redis+Streams', 'redis-streams',
    'redis_streams', 'redisstreams', 'redis+steams', 'redis+streasm',
    'streams', 'stream', 'redis+streams+cluster', ' redis+streams ',
    'rediss+stream', 'valkey+stream', 'unix+stream',
    'redis+sentinel+stream', 'redis+cluster+stream', 'streams+redis']

#: The schemes of Flask-SocketIO, and of kombu.
OTHERS = ['redis', 'rediss', 'kafka', 'zmq', 'zmq+tcp', 'amqp', 'amqps',
          'pyamqp', 'librabbitmq', 'memory', 'sqs', 'sentinel',
          'redis+socket', 'filesystem', 'zookeeper', 'mongodb', 'sqla+sqlite',
          'sqlalchemy+postgresql', 'consul', 'etcd', 'azurestoragequeues',
          'azureservicebus', 'confluentkafka', 'pyro', 'gcpubsub', 'qpid',
          'slmq', '']


def test_parts() -> None:
    assert read(URL) == ('redis://host:7000/2?client_name=x', {'max_len': 5})
    assert read('unix+streams:///tmp/s.sock') == ('unix:///tmp/s.sock?', {})


@pytest.mark.parametrize('url, expected', [
    (URL, True), ('unix+streams:///s', True), ('http+streams://host', True),
    ('redis://host', False), ('redis+streams', False),
    ('redis+streams:host', False), (None, False), (5, False)])
def test_is_ours(url: Any, expected: bool) -> None:
    assert is_ours(url) is expected


@pytest.mark.parametrize('scheme', LOOK_ALIKES)
@pytest.mark.parametrize('rest', ['://:secret@host/0', ':secret@host', ''])
def test_look_alikes(scheme: str, rest: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_look_alikes(scheme + rest)
    assert 'did you mean ' in str(caught.value)
    assert repr(scheme) in str(caught.value)
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize('rest', [':', ':/host', ''])
def test_two_slashes_are_needed(rest: str) -> None:
    with pytest.raises(ConfigurationError):
        refuse_look_alikes('redis+streams' + rest)


@pytest.mark.parametrize('scheme', OTHERS)
def test_other_schemes(scheme: str) -> None:
    refuse_look_alikes(f'{scheme}://streams:streams@streams/streams')


@pytest.mark.parametrize('url', [None, '', 5, object(), URL])
def test_what_is_no_look_alike(url: Any) -> None:
    refuse_look_alikes(url)


# -- the constructor ---------------------------------------------------------

@pytest.mark.parametrize('make', [
    RedisStreamsManager, RedisStreamsManager.from_url])
def test_manager_of_such_a_url(make: Any) -> None:
    manager = make(URL + '&stream_name=s', write_only=True, block_time=2.0)
    connection = manager._driver.make(1.0, 'x')
    assert (connection.host, connection.port, connection.db,
            connection.client_name) == ('host', 7000, 2, 'x')
    options = manager._options
    assert (options.max_len, options.block_time, manager.channel) == (
        5, 2.0, 's')
    assert manager.write_only
    # Not given, and not in the URL: the default of an emitter.
    assert options.publish == 'sync'


@pytest.mark.parametrize('scheme, meant', [
    ('redis+stream', 'redis'), ('REDIS+STREAMS', 'redis'),
    ('redisstreams', 'redis'), ('streams', 'redis'),
    ('kafka-streams', 'redis'),
    ('rediss+stream', 'rediss'), ('Rediss-Streams', 'rediss'),
    ('valkeys+stream', 'valkeys'), ('unix_streams', 'unix'),
    ('redis+sentinel+stream', 'redis+sentinel'),
    ('redis+streams+cluster', 'redis+cluster'),
    ('rediss+streams+cluster', 'rediss+cluster'),
    ('streams+rediss', 'rediss')])
def test_what_is_meant(scheme: str, meant: str) -> None:
    """TLS, Sentinels and a cluster are not dropped from it."""
    with pytest.raises(ConfigurationError) as caught:
        refuse_look_alikes(f'{scheme}://host')
    assert f'did you mean {meant}+streams://?' in str(caught.value)


@pytest.mark.parametrize('scheme', LOOK_ALIKES)
def test_manager_refuses_look_alikes(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match='did you mean'):
        RedisStreamsManager(f'{scheme}://:secret@host')


@pytest.mark.parametrize('query, options', [
    ('max_len=5', {'max_len': 6}), ('max_len=5', {'max_len': 5}),
    ('stream_name=a', {'stream_name': 'b'}),
    ('stream_name=a', {'channel': 'b'}),
    ('publish=sync', {'publish': 'back' + 'ground'}),
    ('connection_state_recovery=true', {'connection_state_recovery': False}),
    ('only_plaintext=true', {'only_plaintext': 1})])
def test_an_option_is_given_once(query: str, options: Dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStreamsManager('redis+streams://host?' + query, **options)
    assert query.partition('=')[0] in str(caught.value)


def test_defaults_may_be_repeated() -> None:
    manager = RedisStreamsManager(URL, max_len=None, read_count=100)
    assert manager._options.max_len == 5


@pytest.mark.parametrize('query', ['max_len=x', 'maxLen=5', 'nonsense=1'])
def test_wrong_options_in_the_url(query: str) -> None:
    with pytest.raises(ConfigurationError, match=query.partition('=')[0]):
        RedisStreamsManager('redis+streams://host?' + query)


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('REDIS_STREAMS_URL', URL)
    monkeypatch.setenv('OTHER', 'redis://other')
    manager = RedisStreamsManager.from_env(write_only=True)
    assert (manager._options.max_len, manager.write_only) == (5, True)
    other = RedisStreamsManager.from_env('OTHER')
    assert other._driver.make(1.0, 'x').host == 'other'


@pytest.mark.parametrize('value', [None, ''])
def test_the_environment_lacks_the_url(
        monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.delenv('REDIS_STREAMS_URL', raising=False)
    if value is not None:
        monkeypatch.setenv('REDIS_STREAMS_URL', value)
    with pytest.raises(ConfigurationError, match='REDIS_STREAMS_URL'):
        RedisStreamsManager.from_env()


def test_from_url_takes_a_string() -> None:
    with pytest.raises(ConfigurationError, match='url'):
        RedisStreamsManager.from_url(None)  # type: ignore[arg-type]


def test_subclasses() -> None:
    class Mine(RedisStreamsManager):
        pass

    assert type(Mine.from_url(URL)) is Mine


@pytest.mark.parametrize('url', [
    'redis://host?max_len=5', 'redis://host/0?db=1&retention=60',
    'unix:///s?publish', 'redis+cluster://host?stream_name=x'])
def test_options_in_a_plain_url(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r'ends with \+streams'):
        RedisStreamsManager(url)


@pytest.mark.parametrize('name, meant', [
    ('maxlen', 'max_len'), ('maxLen', 'max_len'),
    ('streamName', 'stream_name'), ('stream-name', 'stream_name'),
    ('connectionStateRecovery', 'connection_state_recovery'),
    ('heartbeatTimeout', 'heartbeat_timeout, in seconds')])
def test_misspelt_options_in_a_plain_url(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStreamsManager(f'redis://:secret@host?db=0&{name}=5')
    assert str(caught.value) == (
        f'url: unknown option {name!r}; did you mean {meant}? It is an option '
        f'of the manager, and may be in a URL whose scheme ends with +streams')


def test_plain_urls_with_options_of_the_connection() -> None:
    for url in ('redis://host?client_name=max_len', 'redis://host',
                'redis://:a%3Fmax_len=5@host', 'redis://host?db=1'):
        RedisStreamsManager(url)
