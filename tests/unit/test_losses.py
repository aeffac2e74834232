"""The counters of losses and their log lines."""
import math

from redis_streams_adapter.losses import COUNTERS, DELETED, EVICTED, Loss, \
    LOSS_INTERVAL, Losses, MISSING, SET_BACK, TRIMMED, VANISHED

KINDS = (MISSING, TRIMMED, DELETED, SET_BACK, VANISHED, EVICTED)


def test_each_kind_has_a_counter_and_a_text() -> None:
    losses = Losses()
    lines = [losses.add(Loss(kind, 'chat', 3, 'x'), 0.0) for kind in KINDS]
    assert set(losses.counts) == set(COUNTERS.values())
    assert set(losses.counts.values()) == {3}
    assert len(set(lines)) == len(KINDS)
    for line, kind in zip(lines, KINDS):
        assert line is not None and "'chat'" in line
        assert f'({COUNTERS[kind]}: 3 in all)' in line


def test_loss_without_a_number_counts_once() -> None:
    losses = Losses()
    losses.add(Loss(DELETED, 'chat'), 0.0)
    losses.add(Loss(DELETED, 'chat'), 0.0)
    assert losses.counts['streams_deleted'] == 2


def test_one_line_for_each_kind_at_a_time() -> None:
    losses = Losses()
    assert losses.add(Loss(MISSING, 'chat', 1, 'x'), 0.0)
    assert losses.add(Loss(MISSING, 'chat', 2, 'x'), LOSS_INTERVAL) is None
    assert losses.add(Loss(SET_BACK, 'chat'), LOSS_INTERVAL)
    assert losses.more(LOSS_INTERVAL) == []
    (kind, line), = losses.more(LOSS_INTERVAL + 1)
    assert kind == MISSING
    assert '(messages_lost: 3 in all)' in line
    # That line starts a new interval, too.
    assert losses.add(Loss(MISSING, 'chat', 4, 'x'),
                      2 * LOSS_INTERVAL) is None
    assert losses.add(Loss(MISSING, 'chat', 4, 'x'), 3 * LOSS_INTERVAL)
    # That line includes all losses before it.
    assert losses.more(math.inf) == []


def test_trimming_without_a_number() -> None:
    losses = Losses()
    line = losses.add(Loss(TRIMMED, 's'), 0.0)
    assert line is not None
    assert "'s'" in line and 'None' not in line
    assert losses.counts['entries_trimmed'] == 1
