"""The requests and answers of a process over PUB/SUB.

*Channels.* Every node listens to plain PUB/SUB, even if it sends its own
requests over the stream: servers in Node.js with the adapter 0.3 ask there
and expect answers. Only nodes with ``request_transport='sharded-pubsub'``
listen to sharded channels, too. An answer takes the way of its request.

*Applications.* All applications on one Redis share its PUB/SUB. Each message
names its application, and a node drops the messages of others, see
:mod:`redis_streams_adapter.protocol.application`.

*Which nodes have to answer.* Redis counts the subscribers at the moment of
the request. The Python nodes of this application have a channel of their own.
The servers in Node.js are those that listen to the public channel and are not
Python nodes, see :mod:`redis_streams_adapter.protocol.routing`.

The request waits for a frozen node, which still listens. It also waits for a
Python node that is known from the stream but does not listen: because the
node is about to reconnect, as all are after an outage, or because it does not
listen to sharded channels. An answer without its clients would look complete.
If the node is dead, the wait for it ends with its heartbeats, as over the
stream.

*Which nodes may ask.* A node publishes nothing before Redis has confirmed
that it hears the answers, see
:mod:`redis_streams_adapter.cluster.subscriptions`. A guest is not counted,
and not asked.
"""
import logging
import math
import time
from typing import Callable, Iterable, Mapping, NamedTuple, Optional, \
    Sequence

from ..protocol.application import Application
from ..protocol.codec import Encoder, Packed, unpack
from ..errors import DecodeError
from ..protocol.membership import Known
from ..protocol.messages import Message
from ..options import Options
from ..stream.driver import Driver
from ..stream.publisher import Publisher
from ..stream.listener import Heard
from ..protocol.requests import Asked
from ..stream.sharded_listeners import StartTask
from .subscriptions import Channels, Subscriptions
from ..concurrency.engines import Engine
from ..protocol.transport import Way

STREAM = 'stream'

#: Seconds between two counts while a node is missing.
RECOUNT = 0.1

#: Returns the other nodes that are known from the stream, by uid.
Members = Callable[[], Mapping[str, Known]]


class Survey(NamedTuple):
    """The nodes that listen in a namespace, as Redis counted them at one
    moment.

    :param others: how many nodes besides this one: those of this application
                   in Python, and the servers in Node.js.
    :param ourselves: whether this node is counted as one of its members.
    :param answers: whether this node hears answers.
    :param asked: the uids of the known nodes that hear requests here.
    :param missing: the uids of the known nodes in Python that do not listen
                    in the namespace in which they are known.
    """

    others: int
    ourselves: bool
    answers: bool
    asked: Sequence[str]
    missing: Sequence[str]


class PubSub:
    """Listens to the channels of the served namespaces, and publishes.

    :param encoder: makes messages of this node.
    :param application: the one that this node belongs to.
    :param hear: called with each message and the way it came, on a
                 listener's task.
    :param malformed: called with the error if a message is not valid.
    :param start: starts tasks.
    :param decode: decodes a message.
    """

    def __init__(self, options: Options, driver: Driver, engine: Engine,
                 logger: Callable[[], logging.Logger], encoder: Encoder,
                 application: Application,
                 hear: Callable[[Packed, Way], None],
                 malformed: Callable[[DecodeError], None],
                 start: StartTask,
                 decode: Callable[[bytes, Application],
                                  Optional[Packed]] = unpack) -> None:
        self._patience = driver.socket_timeout
        self._engine = engine
        self._encoder = encoder
        self._application = application
        self._hear = hear
        self._decode = decode
        self._malformed = malformed
        self._start = start
        #: Whether the requests of this node go over PUB/SUB.
        self.asks = options.request_transport != STREAM
        #: The way that they take, if so.
        self._way = Way(options.request_transport) if self.asks \
            else Way.PLAIN
        self._channels = Channels(options.channel_prefix, application,
                                  lambda: encoder.uid)
        self._subscriptions = Subscriptions(
            driver, engine, logger, self._channels, self._way, self.asks,
            self._take_in, start)
        self._publisher = Publisher(driver, engine)

    @property
    def dropped(self) -> int:
        """How many messages were not sent, or not known to be."""
        return self._publisher.dropped

    # -- what comes in ----------------------------------------------------

    def serve(self, namespaces: Iterable[str]) -> None:
        """Listen in exactly these namespaces, as a member."""
        self._subscriptions.serve(namespaces)

    def _take_in(self, heard: Heard) -> None:
        try:
            packed = self._decode(heard.message, self._application)
        except DecodeError as exc:
            self._malformed(exc)
            return
        if packed is not None and packed.uid != self._encoder.uid:
            self._hear(packed, heard.way)

    # -- what goes out ----------------------------------------------------

    def ask(self, namespace: str, message: Message) -> Callable[[], None]:
        """Encode a request to all nodes of a namespace.

        :return: a function that publishes it.
        :raises TypeError, ValueError: it cannot be serialised.
        """
        packed = self._encoder.pack(namespace, message, self._application)
        return lambda: self._publish(
            self._way, self._channels.public(namespace), packed)

    def pack(self, namespace: str, message: Message) -> bytes:
        """Encode an answer.

        :raises TypeError, ValueError: it cannot be serialised.
        """
        return self._encoder.pack(namespace, message, self._application)

    def answer(self, way: Way, namespace: str, uid: str,
               packed: bytes) -> None:
        """Publish an answer to a node, the way of its request."""
        self._publish(way, self._channels.private(namespace, uid), packed)

    def _publish(self, way: Way, channel: str, packed: bytes) -> None:
        self._start('publisher', self._publisher.work, matters=self.asks)
        self._publisher.publish(way, channel, packed)

    # -- counting nodes ---------------------------------------------------

    def listening(self, namespace: str, members: Members,
                  timeout: float) -> Optional[Asked]:
        """The other nodes of a namespace that have to answer a request that
        is published now: those that hear it, and those that should but do
        not, so that the request waits for them until its timeout.

        :param members: returns the nodes that are known.
        :param timeout: how many seconds to wait, at most. If it is infinite,
                        no task waits for the answers: Redis is asked once,
                        with the timeout of a command.
        :return: ``None`` if Redis does not count in time, or if this node
                 would not hear the answers.
        """
        patient = math.isfinite(timeout)
        if not patient:
            timeout = self._patience
        begun = time.monotonic()
        deadline, pause = begun + timeout, self._engine.event()
        doubted = False
        self._subscriptions.visit(namespace)
        while self._subscriptions.await_answers(namespace, deadline,
                                                patient):
            known = members()
            survey = self._survey(namespace, known,
                                  deadline - time.monotonic())
            now = time.monotonic()
            if survey is not None and survey.answers:
                # The other half of the time is for answers.
                if not survey.missing or not patient \
                        or now >= begun + timeout / 2:
                    return Asked(survey.others + len(survey.missing),
                                 [*survey.asked, *survey.missing])
            elif survey is not None and not doubted:
                doubted = True
                self._subscriptions.doubt(namespace)
            if now >= deadline or (survey is None and not patient):
                break
            pause.wait(min(RECOUNT, deadline - now))
            self._subscriptions.visit(namespace)
        return None

    def count(self, namespace: str, members: Members,
              joins: Callable[[], bool]) -> Optional[int]:
        """The number of nodes of a namespace, including this one if it serves
        the namespace.

        :param members: returns the nodes that are known.
        :param joins: returns whether this node serves it, or is about to.
        :return: ``None`` if Redis does not count in time.
        """
        deadline = time.monotonic() + self._patience
        pause = self._engine.event()
        while True:
            known = members()
            survey = self._survey(namespace, known,
                                  deadline - time.monotonic())
            if survey is None:
                return None
            if survey.ourselves == joins():
                return survey.others + survey.ourselves + len(survey.missing)
            if time.monotonic() >= deadline:
                return None
            pause.wait(RECOUNT)

    def _survey(self, namespace: str, known: Mapping[str, Known],
                timeout: float) -> Optional[Survey]:
        """Have Redis count, by one command; in a cluster, by one command to
        each master.

        :param known: other nodes, and the namespace in which each is known.
        :return: ``None`` if it does not count in time.
        """
        self._start('publisher', self._publisher.work, matters=self.asks)
        channels = self._channels
        counts = self._publisher.count(
            self._way,
            [*channels.counted(namespace), channels.private(namespace),
             *(channels.member(namespace, uid) for uid in known),
             *(channels.private(each.namespace, uid)
               for uid, each in known.items())],
            min(timeout, self._patience))
        if counts is None:
            return None
        public, marked, ours, ourselves, answers, *rest = counts
        asked, missing = [], []
        for (uid, each), here, private in zip(
                known.items(), rest, rest[len(known):]):
            if here or (private and not each.python
                        and each.namespace == namespace):
                asked.append(uid)
            elif each.python and not private:
                missing.append(uid)
        # Between the counts of two masters of a cluster a node may have
        # moved from one to the other.
        others = max(ours - ourselves, 0) + max(public - marked, 0)
        return Survey(max(others, len(asked)), bool(ourselves),
                      bool(answers), asked, missing)

    # -- connections ------------------------------------------------------

    def renew(self) -> None:
        """Replace all connections: another server has taken over."""
        self._publisher.renew()
        self._subscriptions.renew()

    def interrupt(self) -> None:
        """End what the tasks wait for."""
        self._publisher.interrupt()
        self._subscriptions.interrupt()

    def abandon(self) -> None:
        """In a child process after a fork."""
        self._publisher.abandon()
        self._subscriptions.abandon()
