"""Where the daemon is, and connections to it."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.parse
from typing import Optional

DEFAULT = "unix:///run/polycube/polycubed.sock"
PORT = 9000


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: Optional[float]):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.sock.close()
            raise


class Endpoint:
    """The address of a daemon, and what is sent along to it."""

    def __init__(
        self,
        url: Optional[str],
        token: Optional[str],
        cacert: Optional[str],
        cert: Optional[str],
        key: Optional[str],
    ):
        # What is given as an argument counts, and an empty one means none.
        def setting(value: Optional[str], variable: str) -> Optional[str]:
            return (os.environ.get(variable) if value is None else value) or None

        self.url = setting(url, "POLYCUBECTL_URL") or DEFAULT
        self.token = setting(token, "POLYCUBECTL_TOKEN")
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("unix", "http", "https"):
            raise ValueError(f"{self.url} is not a URL of a daemon: it begins with unix://, http:// or https://")
        if parts.scheme == "unix":
            if parts.netloc or not parts.path:
                raise ValueError(f"{self.url} is not the URL of a socket: write unix:///path/to/socket")
        elif not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"{self.url} is not the URL of a daemon: write {parts.scheme}://HOST[:PORT]")
        self.scheme, self.path, self.host, self.port = parts.scheme, parts.path, parts.hostname or "", parts.port or PORT
        self.tls: Optional[ssl.SSLContext] = None
        if parts.scheme == "https":
            self.tls = ssl.create_default_context(cafile=setting(cacert, "POLYCUBECTL_CACERT"))
            cert, key = setting(cert, "POLYCUBECTL_CERT"), setting(key, "POLYCUBECTL_KEY")
            if cert:
                self.tls.load_cert_chain(cert, key)
        elif cacert or cert or key:
            # Those who ask for TLS must not send a token without it.
            raise ValueError(f"cacert, cert and key are for https, and the URL is {self.url}")

    def connect(self, timeout: Optional[float]) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        if self.scheme == "unix":
            return UnixConnection(self.path, timeout)
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
