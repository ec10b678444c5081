"""A stream of packets."""

from __future__ import annotations

import http.client
import io
import os
import socket
import threading
from typing import Callable, Iterator, List, Optional, Union

from .errors import Unreachable
from .pcapng import Packet, Reader, Statistics

CHUNK = 1 << 16


class Packets:
    """Packets as they come. Iterate over it, or have the whole stream with `save` or `file`.

    It is a context manager: at the end of its block the connection is closed, and with it goes a capture that was made for it.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        end: Optional[Callable[[], None]],
    ):
        self._connection, self._response, self._end = connection, response, end
        # The response keeps the socket to itself when the daemon is to close the connection.
        self._socket: Optional[socket.socket] = connection.sock
        if self._socket:
            # No packets may come for hours.
            self._socket.settimeout(None)
        self._reader = Reader()
        # Held while the response is read: it must not be closed meanwhile.
        self._reading = threading.RLock()
        self.closed = False

    def __enter__(self) -> Packets:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Packet]:
        # A loop that was left may have left packets.
        yield from self._reader.feed(b"")
        while data := self._read():
            yield from self._reader.feed(data)

    @property
    def places(self) -> List[str]:
        """Where packets have been captured so far."""
        return list(self._reader.places)

    @property
    def statistics(self) -> Optional[Statistics]:
        """The daemon's counters, which are the end of the stream; `None` before that."""
        return self._reader.statistics

    def stop(self) -> None:
        """Ends the capture that was made for this stream; what is still on its way can be read."""
        if self._end is None:
            raise ValueError("this stream has no capture of its own: close it instead")
        self._end()

    def close(self) -> None:
        """Closes the connection. Another thread that reads gets the end of the stream."""
        self.closed = True
        if self._socket:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                # The daemon has closed it.
                pass
        with self._reading:
            self._response.close()
            self._connection.close()

    def save(self, path: Union[str, os.PathLike[str]]) -> int:
        """Writes the rest of the stream into a new file, in pcapng, and returns the number of its bytes."""
        size = 0
        with open(path, "xb") as file:
            while data := self._read():
                size += file.write(data)
        return size

    def file(self) -> io.BufferedReader:
        """The rest of the stream as a binary file, in pcapng."""
        return io.BufferedReader(_File(self._read))

    def _read(self, size: int = CHUNK) -> bytes:
        """What has come, at least a byte; nothing at the end."""
        try:
            with self._reading:
                return b"" if self.closed else self._response.read1(size)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if self.closed:
                return b""
            raise Unreachable("the daemon closed the connection before the stream was complete") from error


class _File(io.RawIOBase):
    def __init__(self, read: Callable[[int], bytes]):
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
