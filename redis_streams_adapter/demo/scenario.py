"""The clients and events of the demo, and whether each event arrived.

No I/O and no clock: what happened comes in, a verdict comes out.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .clients import Delivery
from .orders import NEWS, QUESTION, ROOM

#: The clients and the number of the worker that each connects to: two for
#: each worker, so that an event to everyone has recipients on the sender's
#: worker and on others.
CLIENTS: Mapping[str, int] = {
    'ana': 1, 'ben': 1, 'cleo': 2, 'dan': 2, 'eve': 3, 'finn': 3}

#: How many workers that makes.
WORKERS = 3

#: The clients in the room: one of each worker.
MEMBERS = ('ana', 'cleo', 'eve')

#: The sender that is no worker and no client.
EXTERNAL = 0

#: Number of the markers that every sender emits at the very end.
LAST = 99


@dataclass(frozen=True)
class Step:
    """One event of the demo.

    :param number: its line in the report, from 1.
    :param sender: the number of a worker, or :data:`EXTERNAL`.
    :param title: what happens, in the words of the report.
    :param recipients: the clients that must get it, exactly once.
    :param event: its name.
    :param to: ``None`` for everyone, else the room, or the client's name.
    :param said_by: the client that has its worker emit it, if one has.
    """
    number: int
    sender: int
    title: str
    recipients: tuple[str, ...]
    event: str = NEWS
    to: str | None = None
    said_by: str | None = None

    @property
    def text(self) -> str:
        """What the event says: different in every step."""
        return f'step {self.number}: {self.title}'

    @property
    def asks(self) -> bool:
        return self.event == QUESTION

    def order(self, addressee: str | None, wait: float) -> dict[str, Any]:
        """Return the order for the sender.

        :param addressee: the room or the sid that ``to`` stands for.
        :param wait: seconds to wait for an answer.
        """
        return {'step': self.number, 'text': self.text, 'to': addressee,
                'ask': self.asks, 'wait': wait}


EVERYONE = tuple(CLIENTS)

STEPS = (
    Step(1, 1, 'worker 1 to everyone', EVERYONE),
    Step(2, 2, f'worker 2 to room "{ROOM}"', MEMBERS, to=ROOM),
    Step(3, 1, 'worker 1 to finn alone', ('finn',), to='finn'),
    Step(4, 1, 'ana says hello to the others',
         tuple(name for name in EVERYONE if name != 'ana'), said_by='ana'),
    Step(5, 3, 'worker 3 asks ben, who answers', ('ben',), event=QUESTION,
         to='ben'),
    Step(6, EXTERNAL, 'external process to everyone', EVERYONE),
    Step(7, EXTERNAL, f'external process to "{ROOM}"', MEMBERS, to=ROOM),
)


@dataclass(frozen=True)
class Cell:
    """What one client got from one step.

    :param client: its name.
    :param seconds: from the emit to its handler, if it got something.
    :param problem: a word for the error; ``None`` if there is none.
    :param expected: whether it was to get something.
    """
    client: str
    seconds: float | None
    problem: str | None
    expected: bool


def judge(step: Step, received: Mapping[str, Iterable[Delivery]],
          ) -> tuple[Cell, ...]:
    """Compare what the clients received with what was meant for them.

    :param step: what was emitted.
    :param received: by client, all that it received.
    """
    return tuple(
        _judge_one(step, client, [
            delivery for delivery in received.get(client, ())
            if delivery.step == step.number])
        for client in CLIENTS)


def _judge_one(step: Step, client: str, got: list[Delivery]) -> Cell:
    expected = client in step.recipients
    problem = None
    if not expected and got:
        problem = 'STRAY'
    elif expected and not got:
        problem = 'LOST'
    elif len(got) > 1:
        problem = f'{len(got)}x'
    elif got and (got[0].event, got[0].text) != (step.event, step.text):
        problem = 'OTHER'
    return Cell(client, got[0].seconds if got else None, problem, expected)


def with_unknown_steps(received: Mapping[str, Iterable[Delivery]],
                       ) -> list[str]:
    """Name the clients that received something that belongs to no step."""
    known = {step.number for step in STEPS}
    return [client for client in CLIENTS
            if any(delivery.step not in known
                   for delivery in received.get(client, ()))]


def explain(step: Step, cell: Cell) -> str:
    """Say what is wrong with a cell."""
    who = f'line {step.number}, {cell.client}'
    if cell.problem == 'LOST':
        return f'{who}: it did not arrive'
    if cell.problem == 'STRAY':
        return f'{who}: it arrived, but was not meant for {cell.client}'
    if cell.problem == 'OTHER':
        return f'{who}: something else arrived instead'
    return f'{who}: it arrived {cell.problem}, not once'
