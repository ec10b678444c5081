"""The REST API of a daemon."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

from .connection import Endpoint
from .errors import Refused, Unreachable
from .packets import Packets

if TYPE_CHECKING:
    from . import types

BASE = "/polycube/v1/"
REDIRECTS = 3


class Client:
    """A daemon.

    Without arguments, the daemon is the one that polycubectl would speak to: `POLYCUBECTL_URL`, `POLYCUBECTL_TOKEN`,
    `POLYCUBECTL_CACERT`, `POLYCUBECTL_CERT` and `POLYCUBECTL_KEY`, and else the socket of this machine's daemon.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        token: Optional[str] = None,
        cacert: Optional[str] = None,
        cert: Optional[str] = None,
        key: Optional[str] = None,
        timeout: float = 30,
    ):
        """`timeout` is how many seconds an answer may take; streams have none once they have begun."""
        self._endpoint = Endpoint(url, token, cacert, cert, key)
        self._timeout = timeout
        self._open: List[Packets] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the streams that are open. Other requests have a connection each."""
        for packets in self._open:
            packets.close()
        self._open.clear()

    def get(self, path: str) -> Any:
        """What is at a path, such as `sniffer/counters`."""
        return self._ask("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """Creates something, or runs an action."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Creates or replaces something."""
        return self._ask("PUT", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Changes settings."""
        return self._ask("PATCH", path, body)

    def delete(self, path: str) -> Any:
        """Deletes something, or resets a setting to its default."""
        return self._ask("DELETE", path)

    def version(self) -> str:
        """The daemon's version."""
        version: str = self.get("version")["polycubed"]["version"]
        return version

    def cubes(self) -> Dict[str, List[types.Cube]]:
        """All cubes, by service."""
        cubes: Dict[str, List[types.Cube]] = self.get("cubes")
        return cubes

    def services(self) -> List[types.Service]:
        """The services that are loaded."""
        services: List[types.Service] = self.get("services")
        return services

    def netdevs(self) -> List[types.Netdev]:
        """The network devices beside the daemon."""
        netdevs: List[types.Netdev] = self.get("netdevs")
        return netdevs

    def attach(self, cube: str, port: str, **place: str) -> None:
        """Attaches a transparent cube; `position`, `before` or `after` says where in the chain."""
        self.post("attach", {"cube": cube, "port": port, **place})

    def detach(self, cube: str, port: str) -> None:
        """Detaches a transparent cube."""
        self.post("detach", {"cube": cube, "port": port})

    def capture(
        self,
        *places: str,
        filter: Optional[str] = None,
        packets: Optional[int] = None,
        settings: Optional[types.PacketcaptureSettings] = None,
    ) -> Packets:
        """Captures at netdevs and at ports (`CUBE:PORT`) for as long as the result is open; nothing of it is left.

        `filter` is an expression as for tcpdump. The capture ends by itself after a number of `packets`. `settings` are those
        of any capture, such as `{"snaplen": 96, "capture": "ingress"}`.
        """
        if not places:
            raise ValueError("a capture needs a place: a netdev or CUBE:PORT")
        body: Dict[str, Any] = {"capture": "bidirectional", "format": "pcapng", "store": "none", **(settings or {})}
        body["parents"] = list(places)
        if filter is not None:
            body["filter"] = filter
        query = {"ephemeral": "stream", "format": "pcapng"}
        if packets is not None:
            query["packets"] = str(packets)
        return self._stream("POST", "packetcapture", query, body)

    def stream(self, cube: str, *, follow: bool = True, packets: Optional[int] = None) -> Packets:
        """The packets of a capture: those from now on, or, without `follow`, those so far."""
        query = {"format": "pcapng", "follow": "true" if follow else "false"}
        if packets is not None:
            query["packets"] = str(packets)
        return self._stream("GET", f"{urllib.parse.quote(cube, safe='')}/stream", query)

    def _stream(self, method: str, path: str, query: Mapping[str, str], body: Any = None) -> Packets:
        target = f"{path}/?{urllib.parse.urlencode(query)}"
        connection, response = self._begin(method, target, body)
        self._open = [packets for packets in self._open if not packets.closed]
        location = response.getheader("Location")
        end = (lambda: self._end(location)) if location else None
        self._open.append(Packets(connection, response, end))
        return self._open[-1]

    def _end(self, location: str) -> None:
        try:
            self._ask("DELETE", urllib.parse.urlsplit(location).path)
        except Refused as refused:
            # It has ended meanwhile.
            if refused.status not in (404, 409):
                raise

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection, response = self._begin(method, path, body)
        try:
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise Unreachable(f"{self._endpoint.url}: the answer for {path} is not JSON: {error}") from error

    def _begin(self, method: str, path: str, body: Any) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Sends a request, and returns its answer if that is no refusal."""
        target = path if path.startswith("/") else BASE + path
        headers = {"Accept": "application/json, */*"}
        if self._endpoint.token:
            headers["Authorization"] = f"Bearer {self._endpoint.token.strip()}"
        text = None
        if body is not None:
            text, headers["Content-Type"] = json.dumps(body), "application/json"
        for _ in range(REDIRECTS):
            connection = self._endpoint.connect(self._timeout)
            try:
                connection.request(method, target, text, headers)
                response = connection.getresponse()
                if 200 <= response.status < 300:
                    return connection, response
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise self._unreachable(error) from error
            connection.close()
            location = urllib.parse.urlsplit(response.getheader("Location") or "")
            # Another server would get the token.
            if response.status not in (307, 308) or location.netloc or not location.path:
                raise Refused.read(response.status, answer)
            target = location.path + (f"?{location.query}" if location.query else "")
        raise Unreachable(f"{self._endpoint.url} redirects more than {REDIRECTS} times")

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = f"no answer within {self._timeout:g} s" if isinstance(error, TimeoutError) else error
        return Unreachable(f"{self._endpoint.url}: {reason}")
