"""The errors of the package."""
import pickle

from redis_streams_adapter import ClusterTimeoutError, ConfigurationError, \
    DecodeError, EventTooLargeError, NotStoredError, OutboxFullError, \
    RedisStreamsError


def test_errors_can_be_sent_to_another_process() -> None:
    """multiprocessing pickles errors."""
    for error in (OutboxFullError('full'), NotStoredError('away'),
                  EventTooLargeError('large'), ConfigurationError('wrong'),
                  RedisStreamsError('x'), DecodeError('y'),
                  ClusterTimeoutError(['a'], ['b', 'c'])):
        copied = pickle.loads(pickle.dumps(error))
        assert type(copied) is type(error)
        assert str(copied) == str(error)
        assert vars(copied) == vars(error)
