"""Which classes the parts of a manager are made of.

An option that changes what happens to each message chooses other classes
here, once, when the manager is composed. So it costs nothing if it is off: no
message asks whether it is on.
"""
from typing import Any, Callable, NamedTuple, Optional, Type, TYPE_CHECKING

from .clients.direct_delivery import DirectDelivery
from .cluster.calls import Cluster
from .cluster.outgoing import Outgoing
from .protocol.application import Application
from .protocol.codec import Encoder, Packed, unpack
from .protocol.transport import Way

if TYPE_CHECKING:
    from .recovery.deliveries import StreamOrderDeliveries

#: Takes in a message that came over PUB/SUB.
Hear = Callable[[Packed, Way], None]

#: Decodes one.
Unpack = Callable[[bytes, Application], Optional[Packed]]


class Kinds(NamedTuple):
    """The classes, and two functions, that an option can replace.

    :param direct: makes the delivery without recovery, given the runtime and
                   then the arguments of the class.
    :param ordered: the same with recovery.
    :param hear: returns what is called instead of a function that takes in
                 what came over PUB/SUB, given the runtime.
    """

    encoder: Type[Encoder]
    outgoing: Type[Outgoing]
    cluster: Type[Cluster]
    direct: Callable[..., DirectDelivery]
    ordered: Callable[..., 'StreamOrderDeliveries']
    unpack: Unpack
    hear: Callable[..., Hear]


def _ordered(runtime: Any, *args: Any) -> 'StreamOrderDeliveries':
    # Imported only with recovery: that saves memory without it.
    from .recovery.deliveries import StreamOrderDeliveries
    return StreamOrderDeliveries(*args)


PLAIN = Kinds(
    Encoder, Outgoing, Cluster,
    lambda runtime, *args: DirectDelivery(*args), _ordered,
    unpack, lambda runtime, hear: hear)
