"""The model of what a cluster takes."""
from dataclasses import replace
from typing import Any

import pytest
import redis

from benchmarks import capacity
from benchmarks.capacity import Load
from benchmarks.costs import Cost, Costs
from redis_streams_adapter import RedisStreamsManager

COSTS = Costs(
    send=Cost(10, 100), ignore=Cost(5, 100), first=Cost(5, 5),
    client=Cost(1, 20), write=Cost(2, 50), read=Cost(1, 20),
    node_kilobyte=3, redis_kilobyte=0.5, batch=0.0005, input=300, request=100,
    output=300, node_memory=50, client_memory=50)


@pytest.mark.parametrize('rate, cost, busy, used', [
    (1000, 100, 10, 0.1),
    (20_000, 100, 10, 1.0),  # larger batches
    (200_000, 12, 10, 2.0)])  # overloaded
def test_a_process_that_cannot_keep_up_takes_larger_batches(
        rate: float, cost: float, busy: float, used: float) -> None:
    assert capacity.used(rate, cost, busy) == pytest.approx(used)


def test_redis_gives_an_event_to_each_node() -> None:
    one, many = (capacity.needs(Load(rate=1, nodes=nodes), COSTS)
                 for nodes in (1, 101))
    assert many.redis_cpu - one.redis_cpu == pytest.approx(
        100 * 20 / 1e6, rel=0.01)
    assert many.output == pytest.approx(101 * one.output)
    assert many.output == pytest.approx(101 * 400 / 1e6)


def test_masters_share_the_streams() -> None:
    load = Load(rate=1000, nodes=10)
    one, four = (capacity.needs(replace(load, masters=masters), COSTS)
                 for masters in (1, 4))
    assert four.output == pytest.approx(one.output / 4)
    assert four.redis_cpu < one.redis_cpu
    # Every node still reads every event.
    assert four.node_cpu >= one.node_cpu
    assert capacity.limit(replace(load, masters=4), COSTS) == pytest.approx(
        (4 * capacity.limit(load, COSTS)[0], capacity.limit(load, COSTS)[1]))


def test_nodes_divide_the_clients_but_not_the_events() -> None:
    few, many = (capacity.needs(Load(
        rate=100, nodes=nodes, reached=1000, clients=100_000), COSTS)
        for nodes in (10, 1000))
    reading = 100 * 100 / 1e6
    pings = [capacity.pings(Load(rate=1, nodes=nodes, clients=100_000))
             for nodes in (10, 1000)]
    assert pings == pytest.approx([0.08, 0.0008])
    assert reading * 0.9 < many.node_cpu < few.node_cpu
    assert few.node_memory - 50 == pytest.approx(
        100 * (many.node_memory - 50))


def test_larger_events_take_more_of_everything() -> None:
    small, large = (capacity.needs(Load(rate=100, nodes=2, size=size), COSTS)
                    for size in (100, 10_100))
    assert large.redis_cpu - small.redis_cpu == pytest.approx(
        100 * 3 * 10 * 0.5 / 1e6)
    assert large.node_cpu - small.node_cpu == pytest.approx(
        100 * 10 * 3 / 1e6)
    assert large.history > 20 * small.history


@pytest.mark.parametrize('size', [10, 100, 1000, 5000, 10_000, 100_000])
def test_the_memory_of_the_history_is_that_of_redis(
        redis_server: Any, size: int) -> None:
    count = 500
    name = f'history-{size}'
    manager = RedisStreamsManager(redis_server.url, stream_name=name,
                                  write_only=True)
    for _ in range(count):
        manager.emit('message', 'x' * size, room='r' * 20)
    manager.close()
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.xlen(name) == count
        used = client.memory_usage(name, samples=0)
        client.delete(name)
    assert capacity.history(size) == pytest.approx(used / count, rel=0.2)


def test_the_command_prints_what_a_load_takes(
        capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(['--rate', '1000', '--nodes', '4']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('Redis (each)')
    assert lines[-1].split()[-1] == 'events/s'
