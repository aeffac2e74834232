"""What the page counts, and how it waits. No processes, no network."""
import json
import threading
from typing import Any, Dict, List, Tuple

import pytest

from redis_streams_adapter.demo.web.board import Board
from redis_streams_adapter.demo.web.run import verdict
from redis_streams_adapter.demo.web.tally import due, Source, Tally


def counted(*numbers: int) -> Tally:
    tally = Tally()
    for number in numbers:
        tally.add('one', number)
    return tally


@pytest.mark.parametrize('numbers, lost, twice, disordered', [
    ((1, 2, 3), 0, 0, 0),
    ((), 0, 0, 0),
    ((2,), 1, 0, 0),
    ((1, 4), 2, 0, 0),
    ((1, 2, 2), 0, 1, 0),
    ((1, 3, 2), 0, 0, 1),
    ((1, 3, 2, 2), 0, 1, 1),
    ((1, 3, 4, 3), 1, 1, 0),
])
def test_tally(numbers: Tuple[int, ...], lost: int, twice: int,
               disordered: int) -> None:
    tally = counted(*numbers)
    assert tally.received == len(numbers)
    assert (tally.lost, tally.twice, tally.disordered) == (
        lost, twice, disordered)


def test_each_source_has_its_own_numbers() -> None:
    tally = counted(1, 2)
    tally.add('two', 1)
    assert (tally.lost, tally.twice) == (0, 0)
    assert tally.waiting({'one': 4, 'two': 1, 'three': 1}) == 3


def test_outbox_of_killed_source_is_due_to_no_one() -> None:
    tallies = [counted(1, 2), counted(1), counted()]
    assert due([Source('one', 5)], tallies) == {'one': 5}
    assert due([Source('one', 5, ended=True)], tallies) == {'one': 2}
    # Its last event, of which the server did not say that it was emitted.
    assert due([Source('one', 1, ended=True)], tallies) == {'one': 2}


@pytest.fixture
def board() -> Board:
    """Two servers, three clients, one source."""
    board = Board(('ana', 'ben', 'cleo'))
    for number in (1, 2):
        board.server(number, 'serving', f'http://127.0.0.1:{number}', number)
    for name in ('ana', 'ben', 'cleo'):
        board.place(name)
        board.connected(name, None)
    board.emitted('one', 0)
    return board


def row(board: Board, name: str) -> Dict[str, Any]:
    found: Dict[str, Any]
    found, = (each for each in board.snapshot()['clients']
              if each['name'] == name)
    return found


def test_client_gets_the_server_with_fewest_clients(board: Board) -> None:
    assert [row(board, name)['server'] for name in ('ana', 'ben', 'cleo')] \
        == ['server 1', 'server 2', 'server 1']
    board.server(1, 'killed')
    board.lost('ana')
    server = board.place('ana')
    assert server is not None and server.number == 2
    board.server(2, 'starting')
    assert board.place('ana') is None


def test_busiest(board: Board) -> None:
    assert board.busiest_server() == 1
    assert board.busiest_client() == 'ana'
    board.lost('ana')
    board.place('ana')
    board.connected('ana', True)
    # It has come back once, so it is cleo's turn.
    assert board.busiest_client() == 'cleo'
    for number in (1, 2):
        board.server(number, 'killed')
    assert board.busiest_server() == 0


def test_returns(board: Board) -> None:
    board.lost('ana')
    assert not row(board, 'ana')['connected']
    board.place('ana')
    board.connected('ana', True)
    board.connected('ben', False)
    assert (row(board, 'ana')['returns'], row(board, 'ana')['recovered']) \
        == (1, 1)
    assert (row(board, 'ben')['returns'], row(board, 'ben')['recovered']) \
        == (1, 0)


def test_waits_until_all_have_caught_up(board: Board) -> None:
    board.emitted('one', 1)
    for name in ('ana', 'ben'):
        board.received(name, 'one', 1, 0.002)
    assert board.wait_until_caught_up(0.01) == ['cleo']
    late = threading.Timer(0.01, board.received, ('cleo', 'one', 1, 0.002))
    late.start()
    assert board.wait_until_caught_up(10) == []
    late.join()
    board.lost('ben')
    assert board.wait_until_caught_up(0.01) == ['ben']


def test_what_was_emitted_later_is_not_waited_for(board: Board) -> None:
    board.emitted('one', 1)
    waited: List[List[str]] = []
    task = threading.Thread(
        target=lambda: waited.append(board.wait_until_caught_up(10)))
    task.start()
    board.wait_until_idle(0)
    for name in ('ana', 'ben', 'cleo'):
        board.received(name, 'one', 1, 0.002)
    task.join()
    assert waited == [[]]


def test_source_that_is_killed_while_it_is_waited_for(board: Board) -> None:
    board.emitted('one', 3)
    for name in ('ana', 'ben', 'cleo'):
        board.received(name, 'one', 1, 0.002)
    late = threading.Timer(0.01, board.ended, ('one',))
    late.start()
    assert board.wait_until_caught_up(10) == []
    late.join()
    assert board.snapshot()['unsent'] == 2
    assert board.snapshot()['events'] == 1


def test_one_button_at_a_time(board: Board) -> None:
    assert board.begin('first')
    assert not board.begin('second')
    assert board.snapshot()['busy'] == 'first'
    assert not board.wait_until_idle(0.01)
    board.finish()
    assert board.wait_until_idle(0)
    assert board.begin('third')
    board.finish()
    board.end()
    assert not board.begin('fourth')


def test_every_change_is_a_new_version(board: Board) -> None:
    version = board.wait_for_change(-1, 0)
    assert board.wait_for_change(version, 0.01) == version
    board.redis('frozen')
    assert board.wait_for_change(version, 10) > version


def test_lines_of_the_log() -> None:
    said: List[str] = []
    board = Board((), said.append)
    board.log('one')
    board.problem('two')
    assert [each['text'] for each in board.snapshot()['log']] == ['one', 'two']
    assert board.snapshot()['problems'] == ['two']
    assert [line[10:] for line in said] == ['one', 'two']


def test_state_is_json(board: Board) -> None:
    board.log('<b>')
    assert json.loads(json.dumps(board.snapshot())) == board.snapshot()


def everyone_got(board: Board, *numbers: int) -> None:
    board.emitted('one', 2)
    for name in ('ana', 'ben', 'cleo'):
        for number in numbers:
            board.received(name, 'one', number, 0.002)


@pytest.mark.parametrize('numbers, good, text', [
    ((1, 2), True, '2 events, 6 of 6 deliveries exactly once, 0 out of order'),
    ((1,), False, '2 events, 3 of 6 deliveries exactly once, 0 out of order'),
    ((2,), False, '2 events, 3 of 6 deliveries exactly once, 0 out of order'),
    ((2, 1), False, '2 events, 3 of 6 deliveries exactly once, '
                    '3 out of order'),
    ((1, 1, 2), False, '2 events, 3 of 6 deliveries exactly once, '
                       '0 out of order'),
])
def test_verdict(board: Board, numbers: Tuple[int, ...], good: bool,
                 text: str) -> None:
    everyone_got(board, *numbers)
    assert verdict(board.snapshot(), board.latencies()) == (
        good, f'{text}; median 2.0 ms')


def test_problem_is_a_failure(board: Board) -> None:
    everyone_got(board, 1, 2)
    board.problem('a server has ended by itself')
    assert not verdict(board.snapshot(), [])[0]
