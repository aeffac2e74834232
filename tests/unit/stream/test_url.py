"""The parts of a Redis URL. An error quotes none of them."""
import pytest
import redis

from redis_streams_adapter.errors import ConfigurationError
from redis_streams_adapter.stream.url import credentials_of, database_of, \
    DEFAULT_PORT, hosts_of, options_of, service_of, split_url


@pytest.mark.parametrize('url, hosts', [
    ('redis://host', [('host', DEFAULT_PORT)]),
    ('redis://user:pass@host:7000/2', [('host', 7000)]),
    ('redis+sentinel://a:1,b,c:3/0/mymaster', [
        ('a', 1), ('b', DEFAULT_PORT), ('c', 3)]),
    ('redis://[::1]:7000', [('::1', 7000)]),
    ('redis://[::1]', [('::1', DEFAULT_PORT)])])
def test_hosts(url: str, hosts: object) -> None:
    assert hosts_of(split_url(url)) == hosts


@pytest.mark.parametrize('url, credentials', [
    ('redis://host', {}),
    ('redis://:secret@host', {'password': 'secret'}),
    ('redis://user:p%2Fw%40d@host', {
        'username': 'user', 'password': 'p/w@d'})])
def test_credentials(url: str, credentials: object) -> None:
    assert credentials_of(split_url(url)) == credentials


def test_database_and_service() -> None:
    parts = split_url('redis+sentinel://a,b/3/mymaster')
    assert (database_of(parts), service_of(parts)) == (3, 'mymaster')
    parts = split_url('redis://host')
    assert (database_of(parts), service_of(parts)) == (0, '')


def test_options() -> None:
    """Options have the same types as in redis-py, with every scheme."""
    assert options_of(redis, split_url(
        'redis+cluster://host?socket_timeout=1.5&health_check_interval=7')
    ) == {'socket_timeout': 1.5, 'health_check_interval': 7}


@pytest.mark.parametrize('url', [
    'redis://user:sec/ret@host', 'redis://user:secret#x@host:y',
    'redis://host:secret', 'redis://host/secret', 'redis://[secret',
    'redis+sentinel://a:1,b:secret/0/mymaster'])
def test_an_error_quotes_no_part_of_the_url(url: str) -> None:
    """A part that looks like a port may belong to a password."""
    with pytest.raises(ConfigurationError) as caught:
        split_url(url)
    error: object = caught.value
    while error is not None:
        assert 'sec' not in str(error)
        error = getattr(error, '__cause__')
