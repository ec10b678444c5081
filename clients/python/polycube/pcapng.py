"""Reads pcapng (draft-ietf-opsawg-pcapng) as the daemon writes it: one section, in this machine's or the other byte order."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Tuple

SECTION, INTERFACE, PACKET, STATISTICS = 0x0A0D0D0A, 1, 6, 5
MAGIC = 0x1A2B3C4D
# Options (section 3.5, and 4.2, 4.3 and 4.6).
IF_NAME, IF_TSRESOL, EPB_FLAGS = 2, 9, 2
ISB_RECEIVED, ISB_ACCEPTED, ISB_SYSTEM_DROPS, ISB_DELIVERED = 4, 6, 7, 8
# The two lowest bits of a packet's flags.
DIRECTIONS = {1: "in", 2: "out"}
# Longer ones are not the daemon's: a packet has at most 256 KiB.
LONGEST_BLOCK = 1 << 20


@dataclass(frozen=True)
class Packet:
    """A packet: `data` has what was captured of its `length` bytes."""

    time_ns: int
    """Nanoseconds since 1970."""
    place: str
    """The netdev or `CUBE:PORT` where it passed."""
    direction: Optional[str]
    """`in` or `out`, as seen from there."""
    length: int
    data: bytes

    @property
    def time(self) -> float:
        """Seconds since 1970, to the microsecond."""
        return self.time_ns / 1e9


@dataclass(frozen=True)
class Statistics:
    """What became of the packets of a stream."""

    received: int
    """Packets that passed."""
    accepted: int
    """Of these, packets that the filter let through."""
    dropped: int
    """Of these, packets that were lost."""
    delivered: int
    """Of these, packets that are in the stream."""


class Reader:
    """Takes bytes as they come, and gives packets."""

    def __init__(self) -> None:
        self.places: List[str] = []
        self.statistics: Optional[Statistics] = None
        self._units: List[Tuple[int, int]] = []
        self._order = "="
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are complete with `data`."""
        self._rest += data
        at = 0
        try:
            while len(self._rest) - at >= 12:
                kind, length = self._head(at)
                if len(self._rest) - at < length:
                    break
                body = self._rest[at + 8 : at + length - 4]
                at += length
                if packet := self._block(kind, body):
                    yield packet
        finally:
            self._rest = self._rest[at:]

    def _head(self, at: int) -> Tuple[int, int]:
        """Type and length of the block there."""
        (kind,) = struct.unpack_from("=I", self._rest, at)
        if kind == SECTION:
            # Its type reads the same in both orders, and what follows the length says which one it is.
            (magic,) = struct.unpack_from("<I", self._rest, at + 8)
            self._order = "<" if magic == MAGIC else ">"
            self.places, self._units = [], []
        kind, length = struct.unpack_from(f"{self._order}II", self._rest, at)
        if length < 12 or length % 4 or length > LONGEST_BLOCK:
            raise ValueError(f"the stream is not pcapng: a block of {length} bytes")
        return kind, length

    def _block(self, kind: int, body: bytes) -> Optional[Packet]:
        if kind == INTERFACE:
            options = self._options(body, 8)
            self.places.append(options.get(IF_NAME, b"").decode(errors="replace"))
            (exponent,) = options.get(IF_TSRESOL, b"\x06")
            # The highest bit says that the unit is a power of 2, not of 10.
            self._units.append((10**9, 1 << (exponent & 0x7F)) if exponent & 0x80 else (10**9, 10**exponent))
        elif kind == PACKET:
            interface, high, low, captured, length = struct.unpack_from(f"{self._order}IIIII", body)
            options = self._options(body, 20 + (captured + 3) // 4 * 4)
            (flags,) = struct.unpack(f"{self._order}I", options.get(EPB_FLAGS, bytes(4)))
            nanos, unit = self._units[interface]
            return Packet(
                time_ns=(high << 32 | low) * nanos // unit,
                place=self.places[interface],
                direction=DIRECTIONS.get(flags & 3),
                length=length,
                data=body[20 : 20 + captured],
            )
        elif kind == STATISTICS:
            options = self._options(body, 12)

            def count(option: int) -> int:
                return int(struct.unpack(f"{self._order}Q", options.get(option, bytes(8)))[0])

            self.statistics = Statistics(
                count(ISB_RECEIVED), count(ISB_ACCEPTED), count(ISB_SYSTEM_DROPS), count(ISB_DELIVERED)
            )
        return None

    def _options(self, body: bytes, at: int) -> Dict[int, bytes]:
        options = {}
        while at + 4 <= len(body):
            code, length = struct.unpack_from(f"{self._order}HH", body, at)
            if code == 0:
                break
            options[code] = body[at + 4 : at + 4 + length]
            at += 4 + (length + 3) // 4 * 4
        return options
