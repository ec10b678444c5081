#!/usr/bin/env python3
"""Writes what a packetcapture cube captures in network mode into a pcap file.

It asks the daemon for one packet after the other, over one HTTP connection. Python's standard library is all it needs.
"""

import argparse
import http.client
import json
import os
import select
import signal
import ssl
import struct
import sys
import time
import urllib.parse

BASE = "/polycube/v1/"
PORT = 9000
PATIENCE = 8  # seconds for an answer, as the original client had it
REDIRECTS = 5
# Seconds between questions while the queue is empty: short after a packet, longer when none come.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.1
# Seconds to fetch what still waits in the daemon when the capture is to end.
LAST_FETCHES = 2
# Seconds that a packet takes from the kernel into the daemon's queue, at most, and some more.
ON_THE_WAY = 0.2
EXIT_UNREACHABLE, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130
EXIT_USAGE, EXIT_OUTPUT = 64, 74  # sysexits.h


class Failure(Exception):
    """What goes wrong, in one line for the user, and the exit status that tells it to scripts."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Parser(argparse.ArgumentParser):
    """Refuses a command line with the exit status that polycubectl has for it."""

    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def arguments():
    parser = Parser(
        prog="client.py",
        description="Writes what a packetcapture cube captures in network mode into a pcap file.",
        epilog="exit status: 0 done, 1 daemon not reachable, 2 refused by the daemon, 64 wrong usage, "
        "74 the file cannot be written",
    )
    parser.add_argument(
        "address", metavar="<IPv4 address>", help="where the daemon listens: an address, a name, or https://NAME[:PORT]"
    )
    parser.add_argument(
        "file", metavar="<file destination name>", help="file to write; .pcap is added where it is missing"
    )
    parser.add_argument("--port", type=int, help="port of the daemon (default: 9000)")
    parser.add_argument(
        "--cacert",
        metavar="FILE",
        help="speak https, with a daemon whose certificate is signed by this CA, in PEM (else POLYCUBECTL_CACERT)",
    )
    parser.add_argument("--cert", metavar="FILE", help="for https: a client certificate, in PEM")
    parser.add_argument("--key", metavar="FILE", help="its private key")
    parser.add_argument(
        "--token",
        metavar="FILE|TOKEN",
        help="bearer token, or a file that holds it (else POLYCUBECTL_TOKEN); a file keeps it out of the process list",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    return parser.parse_args()


def bearer(given):
    """The value of the Authorization header, or None."""
    token = given if given is not None else os.environ.get("POLYCUBECTL_TOKEN", "")
    if given is not None and ("/" in given or os.path.exists(given)):
        try:
            with open(given, encoding="utf-8") as file:
                token = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(EXIT_USAGE, f"cannot read the token file {given}: {error}") from error
    token = token.strip()
    if not token:
        if given is not None:
            raise Failure(EXIT_USAGE, f"{given or '--token'} holds no token")
        return None
    if not token.isascii() or not token.isprintable():
        raise Failure(EXIT_USAGE, "the token has characters that no header can carry")
    return f"Bearer {token}"


def endpoint(options):
    """Scheme, host and port of the daemon."""
    given = options.address if "://" in options.address else f"//{options.address}"
    try:
        url = urllib.parse.urlsplit(given)
        port = url.port
    except ValueError as error:
        raise Failure(EXIT_USAGE, f"{options.address} is not an address: {error}") from error
    scheme = url.scheme or ("https" if options.cacert or options.cert else "http")
    if scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query or url.username:
        raise Failure(EXIT_USAGE, f"{options.address} is not an address, a name, http://NAME or https://NAME")
    if scheme == "http" and (options.cacert or options.cert or options.key):
        # Who asks for TLS must not send a token without it.
        raise Failure(EXIT_USAGE, "--cacert, --cert and --key are for https")
    if port and options.port and port != options.port:
        raise Failure(EXIT_USAGE, f"the port is {port} in the address and {options.port} after --port")
    return scheme, url.hostname, options.port or port or PORT


def tls(options):
    """Trusts the given CA, or the system's."""
    cacert = options.cacert or os.environ.get("POLYCUBECTL_CACERT") or None
    if options.key and not options.cert:
        raise Failure(EXIT_USAGE, "--key needs --cert")
    try:
        context = ssl.create_default_context(cafile=cacert)
        if options.cert:
            context.load_cert_chain(options.cert, options.key)
    except OSError as error:
        files = ", ".join(file for file in (cacert, options.cert, options.key) if file)
        raise Failure(EXIT_USAGE, f"cannot use {files}: {error}") from error
    return context


class Daemon:
    """The REST API, over a connection that is kept."""

    def __init__(self, scheme, address, port, authorization, context=None):
        host = f"[{address}]" if ":" in address else address
        self.name = f"{scheme}://{host}:{port}"
        if scheme == "https":
            self.connection = http.client.HTTPSConnection(address, port, timeout=PATIENCE, context=context)
        else:
            self.connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
        self.headers = {"Accept": "application/json"}
        if authorization:
            self.headers["Authorization"] = authorization

    def get(self, path):
        return self.ask("GET", BASE + path)

    def ask(self, method, target, body=None):
        """The JSON of the answer; a refusal is a Failure."""
        headers = dict(self.headers)
        if body is not None:
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        for _ in range(REDIRECTS):
            response, text = self.exchange(method, target, body, headers)
            location = response.getheader("Location")
            if response.status not in (307, 308) or not location:
                return self.read(target, response, text)
            target = self.follow(location)
        raise Failure(EXIT_UNREACHABLE, f"{self.name} redirects more than {REDIRECTS} times")

    def exchange(self, method, target, body, headers):
        kept = self.connection.sock is not None
        try:
            return self.attempt(method, target, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.connection.close()
            # A daemon may close a connection that idles; nothing of an answer has come.
            if not kept:
                raise self.unreachable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise self.unreachable(error) from error
        try:
            return self.attempt(method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise self.unreachable(error) from error

    def attempt(self, method, target, body, headers):
        self.connection.request(method, target, body, headers)
        response = self.connection.getresponse()
        return response, response.read()

    def unreachable(self, error):
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message or error
            return Failure(
                EXIT_UNREACHABLE, f"{self.name}: its certificate is not trusted ({reason}): give its CA with --cacert"
            )
        reason = f"does not answer within {PATIENCE} s" if isinstance(error, TimeoutError) else f"does not answer ({error})"
        return Failure(
            EXIT_UNREACHABLE, f"{self.name} {reason}: is it running, with --addr and --port for this address?"
        )

    def follow(self, location):
        """Another server would be sent the token."""
        url = urllib.parse.urlsplit(location)
        if url.netloc and url.netloc not in (f"{self.connection.host}:{self.connection.port}", self.connection.host):
            raise Failure(EXIT_UNREACHABLE, f"{self.name} redirects to {location!r}, which is another server")
        return url.path + (f"?{url.query}" if url.query else "")

    def read(self, target, response, text):
        if response.status == 401:
            raise Failure(EXIT_REFUSED, f"{self.name} wants a token: give --token or POLYCUBECTL_TOKEN")
        try:
            answer = json.loads(text) if text.strip() else None
        except ValueError as error:
            raise Failure(EXIT_REFUSED, f"{self.name}: the answer for {target} is not JSON: {error}") from error
        if not 200 <= response.status < 300:
            raise Failure(EXIT_REFUSED, refusal(answer) or f"{target}: {response.status} {response.reason}")
        return answer


def refusal(answer):
    """The messages of a RESTCONF error."""
    try:
        return "; ".join(error["error-message"] for error in answer["ietf-restconf:errors"]["error"])
    except (KeyError, TypeError):
        return None


class Input:
    """Lines of standard input, which may be watched while packets come."""

    def __init__(self):
        self.buffer = b""
        self.closed = False

    def line(self, patience=None):
        """The next line; None when there is none within `patience` seconds, or ever again (`closed`)."""
        while b"\n" not in self.buffer:
            if self.closed:
                return None
            ready, _, _ = select.select([0], [], [], patience)
            if not ready:
                return None
            more = os.read(0, 4096)
            if not more:
                self.closed = True
                rest, self.buffer = self.buffer, b""
                return rest.decode(errors="replace").strip() if rest else None
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def answer(self, question):
        print(question, end="", flush=True)
        line = self.line()
        if not os.isatty(0) or line is None:
            print(flush=True)
        return line


def choose(cubes, lines):
    """Which cube to listen to. Scripts answer even where there is no choice, as the original asked them."""
    for number, cube in enumerate(cubes, 1):
        print(f"{number}: {cube['name']}")
    if len(cubes) == 1 and os.isatty(0):
        return cubes[0]["name"]
    while True:
        line = lines.answer("Please select the service number: ")
        if line is None:
            if len(cubes) == 1:
                return cubes[0]["name"]
            raise Failure(EXIT_USAGE, "there are several services, and no number was given")
        if line.isdecimal() and 1 <= int(line) <= len(cubes):
            return cubes[int(line) - 1]["name"]
        print(f"'{line}' is not a number from 1 to {len(cubes)}", file=sys.stderr)


def prepare(daemon, name, lines):
    """Sees to it that the cube is in network mode."""
    path = "packetcapture/" + urllib.parse.quote(name, safe="") + "/"
    cube = daemon.get(path)
    if not cube.get("networkmode"):
        print(f"{name} is not in network mode: it writes into a file of the daemon's.")
        line = lines.answer("Turn on network mode? (y/n): ")
        if (line or "").lower() not in ("y", "yes"):
            raise Failure(EXIT_REFUSED, f"network mode stays off; turn it on with: polycubectl {name} set networkmode=true")
        daemon.ask("PATCH", BASE + path + "networkmode/", True)
        print(f"It stays on afterwards; turn it off with: polycubectl {name} set networkmode=false")
    if str(cube.get("capture", "")).lower() == "off":
        print(f"{name} captures nothing yet; turn it on with: polycubectl {name} set capture=bidirectional")
    return path


def file_header(fields):
    """A pcap file's header, in this machine's byte order, as the records' are (draft-ietf-opsawg-pcap)."""
    names = ("magic", "version_major", "version_minor", "thiszone", "sigfigs", "snaplen", "linktype")
    try:
        return struct.pack("=IHHiIII", *(fields[name] for name in names))
    except (KeyError, TypeError, struct.error) as error:
        raise Failure(EXIT_REFUSED, f"the daemon's file header is not one: {error!r}") from error


def record(packet):
    """A packet's record, or None when the queue was empty."""
    try:
        data = packet["rawdata"].encode("latin-1")
        if not data:
            return None
        times = packet["timestamp-seconds"], packet["timestamp-microseconds"]
        return struct.pack("=IIII", *times, len(data), max(packet["packetlen"], len(data))) + data
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise Failure(EXIT_REFUSED, f"the daemon's packet is not one: {error!r}") from error


class Output:
    """The file, new, or emptied if that is wanted."""

    def __init__(self, path, force):
        self.path = path
        # Never through a symbolic link: what the capture is given is not what another file is there for.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if force else os.O_EXCL)
        try:
            self.file = os.fdopen(os.open(path, flags, 0o640), "wb")
        except OSError as error:
            raise cannot_write(path, error) from error
        self.packets = self.bytes = 0

    def write(self, data):
        try:
            self.file.write(data)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def add(self, data):
        self.write(data)
        self.packets += 1
        self.bytes += len(data) - 16

    def flush(self):
        try:
            self.file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self):
        try:
            with self.file as file:
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error


def cannot_write(path, error):
    if isinstance(error, FileExistsError):
        return Failure(EXIT_OUTPUT, f"{path} is there already: take another name, or --force to write over it")
    return Failure(EXIT_OUTPUT, f"cannot write {path}: {error.strerror or error}")


class Progress:
    """What has come, on the line above the prompt of a terminal."""

    SAVE, RESTORE, UP, CLEAR = "\0337", "\0338", "\033[A\r", "\033[K"

    def __init__(self, daemon, path, output):
        self.daemon, self.path, self.output = daemon, path, output
        self.shown = sys.stdout.isatty() and os.isatty(0)
        self.began = self.last = time.monotonic()
        self.last_packets = 0
        self.before = self.counted()

    def counted(self):
        """All that the daemon did not capture or keep so far, or None when it does not tell."""
        try:
            counters = self.daemon.get(self.path + "counters/")
        except Failure:
            return None
        return sum(count for name, count in (counters or {}).items() if name.startswith("dropped-"))

    def discarded(self):
        now = self.counted()
        return None if now is None or self.before is None else max(now - self.before, 0)

    def tick(self):
        now = time.monotonic()
        if not self.shown or now - self.last < 1:
            return
        rate = (self.output.packets - self.last_packets) / (now - self.last)
        self.last, self.last_packets = now, self.output.packets
        text = f"{self.output.packets} packets, {rate:.0f} a second{self.suffix()}"
        print(self.SAVE + self.UP + self.CLEAR + text + self.RESTORE, end="", flush=True)

    def suffix(self):
        discarded = self.discarded()
        return "" if discarded is None else f", {discarded} discarded"

    def summary(self):
        seconds = time.monotonic() - self.began
        return (
            f"{self.output.packets} packets, {self.output.bytes} bytes in {seconds:.1f} s{self.suffix()}:"
            f" {self.output.path}"
        )


class Ending:
    """Whether the capture is to end: by the word, by a signal, or because nobody is left to say it."""

    PROMPT = 'write "stop" to end the capture: '

    def __init__(self, lines):
        self.lines = lines
        self.asked = False

    def __enter__(self):
        # Signals set a mark, so that none cuts a record in two; a second one ends everything.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.mark)
        print(self.PROMPT, end="", flush=True)
        return self

    def __exit__(self, *_):
        print(flush=True)

    def mark(self, *_):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def wait(self, seconds):
        """Waits, at most, for a reason to end; True when there is one."""
        line = None if self.asked else self.lines.line(seconds)
        if line is not None and line.lower() != "stop":
            print(self.PROMPT, end="", flush=True)
        self.asked |= self.lines.closed or (line or "").lower() == "stop"
        return self.asked


def capture(daemon, path, output, progress, ending):
    pause = 0
    while not ending.wait(pause):
        data = record(daemon.get(path + "packet/"))
        if data is None:
            output.flush()
            pause = min(max(pause * 2, SHORTEST_PAUSE), LONGEST_PAUSE)
        else:
            output.add(data)
            pause = 0
        progress.tick()
    began = quiet = time.monotonic()
    while (now := time.monotonic()) < began + LAST_FETCHES and now < quiet + ON_THE_WAY:
        data = record(daemon.get(path + "packet/"))
        if data is None:
            time.sleep(SHORTEST_PAUSE)
        else:
            output.add(data)
            quiet = time.monotonic()


def run(options):
    file = options.file if options.file.endswith(".pcap") else options.file + ".pcap"
    if os.path.lexists(file) and not options.force:
        raise cannot_write(file, FileExistsError())
    scheme, host, port = endpoint(options)
    context = tls(options) if scheme == "https" else None
    daemon = Daemon(scheme, host, port, bearer(options.token), context)
    cubes = (daemon.get("cubes/") or {}).get("packetcapture")
    if not cubes:
        raise Failure(EXIT_REFUSED, "No packetcapture services up: make one with: polycubectl packetcapture add NAME")
    lines = Input()
    path = prepare(daemon, choose(cubes, lines), lines)
    header = file_header(daemon.get(path + "globalheader/"))
    output = Output(file, options.force)
    try:
        output.write(header)
        progress = Progress(daemon, path, output)
        if progress.shown:
            print()
        with Ending(lines) as ending:
            capture(daemon, path, output, progress, ending)
    finally:
        # Whatever ended it: what has come is in the file.
        output.close()
    print(progress.summary())


def main():
    options = arguments()
    try:
        run(options)
    except Failure as failure:
        print(f"client.py: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
