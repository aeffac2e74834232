"""Events between servers in both languages, and the number of servers."""
from typing import Any, List

import pytest

from ..support.node_process import RemoteError
from ..support.wait import wait_for_value
from .helpers import Cluster, LANGUAGES, Server, Unique

#: What is sent. Bytes are encoded in another way.
ARGUMENTS: List[List[Any]] = [
    [], ['text'], [1, None, [True], {'key': 'Zoë 🎉'}],
    ['before', b'\x00\xff', {'inside': [b'\x01']}]]


def wait_for_events(servers: List[Server], event: str,
                    expected: List[Any]) -> None:
    """Wait until each server has recorded these events, in this order."""
    for server in servers:
        wait_for_value(lambda: server.server_side_events(event), expected,
                       what=f'the server-side events of {server.name}')


@pytest.mark.parametrize('namespace', ['/', '/chat'])
def test_server_count(cluster: Cluster, namespace: str) -> None:
    for server in cluster.servers:
        assert server.server_count(namespace) == 4


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('language', LANGUAGES)
def test_emit(cluster: Cluster, unique: Unique, language: str,
              namespace: str) -> None:
    sender, event = cluster.in_language(language), unique('event')
    for server in cluster.servers:
        server.handle_server_side(event, namespace=namespace)
    for arguments in ARGUMENTS:
        sender.server_side_emit(event, *arguments, namespace=namespace)
    wait_for_events(cluster.others(sender), event, ARGUMENTS)
    assert sender.server_side_events(event) == []


@pytest.mark.parametrize('namespace', ['/', '/chat'])
@pytest.mark.parametrize('language', LANGUAGES)
def test_call(cluster: Cluster, unique: Unique, language: str,
              namespace: str) -> None:
    sender, event = cluster.in_language(language), unique('event')
    answers: List[Any] = []
    for number, server in enumerate(cluster.servers):
        answer = [{'server': number, 'key': b'\x00' * number}, 'Zoë 🎉']
        server.handle_server_side(event, answer, namespace=namespace)
        if server is not sender:
            answers.append(answer)
    for arguments in ARGUMENTS:
        responses = sender.server_side_call(event, *arguments,
                                            namespace=namespace)
        assert sorted(responses,
                      key=lambda each: each[0]['server']) == answers
    wait_for_events(cluster.others(sender), event, ARGUMENTS)
    assert sender.server_side_events(event) == []


@pytest.mark.parametrize('language', LANGUAGES)
def test_empty_answer(cluster: Cluster, unique: Unique,
                      language: str) -> None:
    sender, event = cluster.in_language(language), unique('event')
    for server in cluster.servers:
        server.handle_server_side(event)
    assert sender.server_side_call(event) == [None, None, None]


@pytest.mark.parametrize('language', LANGUAGES)
def test_python_server_without_a_handler(cluster: Cluster, unique: Unique,
                                         language: str) -> None:
    """It answers at once, to a caller in any language."""
    sender, event = cluster.in_language(language), unique('event')
    silent = next(server for server in (
        cluster.other_python, cluster.python) if server is not sender)
    for server in cluster.servers:
        if server is not silent:
            server.handle_server_side(event, 'answer')
    assert sorted(sender.server_side_call(event), key=str) == [
        None, 'answer', 'answer']


def test_js_server_without_a_handler(cluster: Cluster,
                                     unique: Unique) -> None:
    """It does not answer, and the wait ends."""
    sender, event = cluster.in_language('Python'), unique('event')
    for server in cluster.servers:
        if server is not cluster.other_js:
            server.handle_server_side(event, 'answer')
    with pytest.raises(RemoteError) as info:
        sender.server_side_call(event, timeout=2.0)
    assert info.value.responses == ['answer', 'answer']
    assert info.value.types[0] == 'ClusterTimeoutError'
    assert 'only 2 responses received out of 3' in info.value.text
