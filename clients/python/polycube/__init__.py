"""Client of polycubed: captures as iterators, and its REST API with types."""

from .client import Client
from .errors import PolycubeError, Refused, Unreachable
from .packets import Packets
from .pcapng import Packet, Statistics

__all__ = ["Client", "Packet", "Packets", "PolycubeError", "Refused", "Statistics", "Unreachable"]
