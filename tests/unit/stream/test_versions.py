"""Which servers are too old, by what they say of themselves."""
import pytest

from redis_streams_adapter.stream.versions import find_too_old

#: As Redis begins and ends its reply.
INFO = (b'# Server\r\nredis_version:%b\r\nredis_git_sha1:00000000\r\n'
        b'%bredis_mode:standalone\r\ngcc_version:12.2.0\r\nprocess_id:7\r\n')


@pytest.mark.parametrize('version', [
    b'2.8.17', b'4.0.14', b'5.0.6', b'6.0.16', b'6.0.0'])
def test_old_redis(version: bytes) -> None:
    assert find_too_old(INFO % (version, b'')) == (
        f'needs Redis 6.2 or newer, this is Redis {version.decode()}')


@pytest.mark.parametrize('version', [
    b'6.2.0', b'6.2.14', b'7.0.15', b'8.0.0', b'10.1.0', b'255.255.255',
    b'7.4-rc1', b'8.0-m02'])
def test_new_redis(version: bytes) -> None:
    assert find_too_old(INFO % (version, b'')) is None


@pytest.mark.parametrize('name', [
    b'server_name:valkey\r\nvalkey_version:9.1.2\r\n',
    b'kvrocks_version:2.9.0\r\n', b'dragonfly_version:df-v1.2\r\n',
    b'keydb_version:6.3.4\r\n'])
def test_servers_with_another_name(name: bytes) -> None:
    """The version of Redis that they give does not count."""
    for version in b'7.2.4', b'4.0.0':
        assert find_too_old(INFO % (version, name)) is None


@pytest.mark.parametrize('info', [
    b'', b'# Server\r\n', b'redis_version:\r\n', b'redis_version:new\r\n'])
def test_servers_that_do_not_say(info: bytes) -> None:
    assert find_too_old(info) is None
