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


#: Passwords with characters that are not percent-encoded.
RAW = ['#S3cr3t', '?S3cr3t', '/S3cr3t', '12#S3cr3t', '12?S3cr3t',
       '12/S3cr3t', '?S3cr3t=1', '12?S3cr3t=1', 'S3c/r3t', '[S3cr3t',
       'S3c#r3t', '?db=1&S3cr3t', '1/2/S3cr3t', '1/2?S3cr3t', '/1/S3cr3t']

SCHEMES = [
    'redis://:{}@db.example:6379/2', 'redis://user:{}@db.example',
    'unix://:{}@/tmp/s.sock?db=2', 'rediss+cluster://:{}@db.example:6379',
    'redis+sentinel://:{}@db.example:26379/2/main',
    'redis+streams://:{}@db.example:6379/2?max_len=5',
    'unix+streams://:{}@/tmp/s.sock']


@pytest.mark.parametrize('scheme', SCHEMES)
@pytest.mark.parametrize('password', RAW)
def test_raw_characters_in_a_password(scheme: str, password: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        split_url(scheme.format(password))
    assert 'cr3t' not in str(caught.value) and 'r3t' not in str(caught.value)
    assert 'percent-encode' in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize('url', [
    'redis://host/0#', 'redis://host/0#x', 'unix:///tmp/a#b.sock',
    'redis://:p%23w@host#x', 'redis://host?client_name=a#b'])
def test_a_fragment_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match='#'):
        split_url(url)


@pytest.mark.parametrize('url', [
    'redis://host?client_name=a%40b', 'redis://:p%23%3F%2Fw@host/1',
    'redis://:pw@host?client_name=a@b', 'unix:///tmp/a@b.sock',
    'unix://:pw@/tmp/a@b.sock', 'redis://:p@w@host',
    'redis://host?client_name=a@b', 'redis://host:6379/0?password=p@w',
    'redis+streams://host/0?max_len=5&stream_name=a@b',
    'redis+cluster://a:1,b:2?username=a@b&password=c@d'])
def test_an_at_sign_where_it_may_be(url: str) -> None:
    split_url(url)


@pytest.mark.parametrize('url', [
    'redis://host?a=a@b', 'redis://host/0/a@b', 'redis://host/a@b',
    'redis://:?client_name=a@b', 'redis://:12?client_name=a@b&3@host',
    'redis://host/a@b?client_name=a@b',
    'redis://:p@w?x@host', 'redis://:p@w?db=1&x@host', 'unix://host/tmp/a@b'])
def test_an_at_sign_where_it_may_end_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match='percent-encode'):
        split_url(url)
