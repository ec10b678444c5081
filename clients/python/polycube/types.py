"""The documents of the API, generated from schemas/openapi.json by generate_types.py.

A key may be missing from any of them: what is shown depends on the cube, and what is set is up to you.
"""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional, TypedDict, Union

ErrorInfoCandidates = TypedDict(
    "ErrorInfoCandidates",
    {
        # The one that was probably meant
        "nearest": str,
        "known": List[str],
        # How many there are besides those known
        "more": int,
    },
    total=False,
)

ErrorInfoInsteadEntry = TypedDict(
    "ErrorInfoInsteadEntry",
    {
        "method": Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        # Path below /polycube/v1/; words in capitals stand for names
        "path": str,
    },
    total=False,
)

ErrorInfoLimits = TypedDict(
    "ErrorInfoLimits",
    {
        "minimum": float,
        "maximum": float,
        # What the numbers count, where it is not obvious
        "unit": str,
        "values": List[str],
        "examples": List[str],
    },
    total=False,
)

ErrorInfo = TypedDict(
    "ErrorInfo",
    {
        # What the mistake is about: the last word of the path, or the word that is not known
        "name": str,
        # What is wrong, without advice
        "reason": str,
        # Names that could be meant
        "candidates": ErrorInfoCandidates,
        "method": Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        # Methods that work here
        "allow": List[Literal["GET", "POST", "PUT", "PATCH", "DELETE"]],
        # Requests that do what this one was meant to do
        "instead": List[ErrorInfoInsteadEntry],
        # What a value must keep to
        "limits": ErrorInfoLimits,
        # Lines of a log that says more, such as the verifier's
        "log": List[str],
    },
    total=False,
)

PortCounters = TypedDict(
    "PortCounters",
    {
        # Packets that the netdev received, on their way into the cube
        "in-packets": int,
        # Bytes that the netdev received
        "in-bytes": int,
        # Packets that the netdev sent, out of the cube
        "out-packets": int,
        # Bytes that the netdev sent
        "out-bytes": int,
    },
    total=False,
)

Port = TypedDict(
    "Port",
    {
        # Netdev on the other side, or port of another cube as CUBE:PORT, which must have this one as its peer too;
        # empty for none
        "peer": str,
        # Name of the port, unique in its cube
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # UP while packets can pass: the peer is a netdev that is up and has carrier, or a port that has this one as
        # its peer
        "status": Literal["UP", "DOWN"],
        # Why the port is DOWN; no-carrier: the cable or what is at its other end is missing or down; not-restored:
        # the cube could not be brought back
        "reason": Literal["no-peer", "no-netdev", "netdev-down", "no-carrier", "not-restored"],
        # Netdev whose packets pass the port: the peer, or the daemon's own end of a link; empty while there is none
        "netdev": str,
        # Cubes that packets from the netdev pass, in order
        "ingress-chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress-chain": str,
        # What the kernel has counted on the netdev since it was created, whatever sent it there; null while there is
        # none
        "counters": Optional[PortCounters],
    },
    total=False,
)

Chains = TypedDict(
    "Chains",
    {
        # Port or network device
        "name": str,
        # Cubes that packets from the netdev pass, in order
        "ingress service chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress service chain": str,
    },
    total=False,
)

Service = TypedDict(
    "Service",
    {
        # Name of the service
        "name": str,
        # What it was made from
        "type": Literal["lib", "object"],
        "kind": Literal["standard", "transparent"],
        # What it does
        "description": str,
        # Version of the plugin, or the one in the object's manifest
        "version": str,
        # Version of polycube-plugin-api that a library was built with
        "sdk-version": str,
        # Version of the plugin ABI that it was built with
        "abi": str,
        # File that it was loaded from
        "servicecontroller": str,
        # When it was loaded, in UTC
        "since": str,
        # Why it is not loaded, where it is stored or stored cubes need it
        "failure": str,
    },
    total=False,
)

Netdev = TypedDict(
    "Netdev",
    {
        # Name of the device
        "name": str,
        "index": int,
        # MAC address, if it has one
        "mac": Optional[str],
        "mtu": Optional[int],
        # IP addresses of the host on it
        "addresses": List[str],
        # UP while the device is set up and has carrier
        "status": Literal["UP", "DOWN"],
        # Why it is DOWN: it is not set up, or it has no carrier
        "reason": Literal["netdev-down", "no-carrier"],
        # Port that it is the peer of, CUBE:PORT; empty for none
        "peer": str,
    },
    total=False,
)

HelloworldPortsEntryCounters = TypedDict(
    "HelloworldPortsEntryCounters",
    {
        # Packets that the netdev received, on their way into the cube
        "in-packets": int,
        # Bytes that the netdev received
        "in-bytes": int,
        # Packets that the netdev sent, out of the cube
        "out-packets": int,
        # Bytes that the netdev sent
        "out-bytes": int,
    },
    total=False,
)

HelloworldPortsEntry = TypedDict(
    "HelloworldPortsEntry",
    {
        # Name of the port, unique in its cube
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # UP while packets can pass: the peer is a netdev that is up and has carrier, or a port that has this one as
        # its peer
        "status": Literal["UP", "DOWN"],
        # Why the port is DOWN; no-carrier: the cable or what is at its other end is missing or down; not-restored:
        # the cube could not be brought back
        "reason": Literal["no-peer", "no-netdev", "netdev-down", "no-carrier", "not-restored"],
        # Netdev on the other side, or port of another cube as CUBE:PORT, which must have this one as its peer too;
        # empty for none
        "peer": str,
        # Netdev whose packets pass the port: the peer, or the daemon's own end of a link; empty while there is none
        "netdev": str,
        # Cubes that packets from the netdev pass, in order
        "ingress-chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress-chain": str,
        # What the kernel has counted on the netdev since it was created, whatever sent it there; null while there is
        # none
        "counters": Optional[HelloworldPortsEntryCounters],
    },
    total=False,
)

HelloworldSlowPath = TypedDict(
    "HelloworldSlowPath",
    {
        # Packets that user space has received
        "packets": int,
        # Packets that were lost because user space was too slow
        "lost": int,
        # Packets that had waited for more than a second when user space began to read, because no daemon ran, and
        # went no further
        "expired": int,
    },
    total=False,
)

HelloworldEphemeral = TypedDict(
    "HelloworldEphemeral",
    {
        # The client that created it
        "owner": str,
        # Seconds since then
        "age": int,
    },
    total=False,
)

Helloworld = TypedDict(
    "Helloworld",
    {
        # Name of the cube, unique among all cubes
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # Service of the cube
        "service-name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Ports of the cube
        "ports": List[HelloworldPortsEntry],
        # What becomes of packets: DROP drops them, FORWARD sends them out of the other port, SLOWPATH hands them to
        # user space, where they are logged and counted, and go no further
        "action": Literal["DROP", "SLOWPATH", "FORWARD"],
        # Packets on the slow path
        "slow-path": HelloworldSlowPath,
        # Why the cube's plugin does not work any more
        "failure": str,
        # Whose it is, if it goes with the stream that it was created for
        "ephemeral": HelloworldEphemeral,
        # Settings that cannot be seen, because state is shown in their place
        "config": Dict[str, Any],
    },
    total=False,
)

HelloworldSettingsPortsEntry = TypedDict(
    "HelloworldSettingsPortsEntry",
    {
        "name": str,
        "peer": str,
    },
    total=False,
)

HelloworldSettings = TypedDict(
    "HelloworldSettings",
    {
        "name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # What becomes of packets: DROP drops them, FORWARD sends them out of the other port, SLOWPATH hands them to
        # user space, where they are logged and counted, and go no further
        "action": Literal["DROP", "SLOWPATH", "FORWARD"],
        # Only when the cube is made
        "ports": List[HelloworldSettingsPortsEntry],
    },
    total=False,
)

PacketcapturePointsEntry = TypedDict(
    "PacketcapturePointsEntry",
    {
        # Port, as CUBE:PORT, or netdev
        "name": str,
        # UP while packets can pass there: the netdev there is up and has carrier
        "status": Literal["UP", "DOWN"],
        # Why it is DOWN: no netdev is there, it is not set up, it has no carrier, or the cube could not be brought
        # back
        "reason": Literal["no-netdev", "netdev-down", "no-carrier", "not-restored"],
        # Cubes that packets from the wire pass there before this one
        "position": int,
        # Cubes that packets from the netdev pass, in order
        "ingress-chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress-chain": str,
    },
    total=False,
)

PacketcaptureFilters = TypedDict(
    "PacketcaptureFilters",
    {
        # Source prefix, IPv4 or IPv6; host bits are ignored
        "src": Optional[str],
        # Destination prefix, of the same family
        "dst": Optional[str],
        # Source port, of any protocol that has ports
        "sport": Optional[int],
        # Destination port, of any protocol that has ports
        "dport": Optional[int],
        # Protocol over IP: tcp, udp, icmp, icmpv6, sctp or a number
        "l4proto": Optional[str],
        # Maximum bytes to record of each packet; the same as the cube's `snaplen`
        "snaplen": Union[int, str],
    },
    total=False,
)

PacketcaptureRotate = TypedDict(
    "PacketcaptureRotate",
    {
        # Maximum size of a file, in MiB
        "size": Optional[float],
        # Maximum time from a file's first packet to its last, in seconds
        "seconds": Optional[int],
        # Number of files that the capture keeps: the oldest are deleted
        "files": Optional[int],
    },
    total=False,
)

PacketcaptureStopAfter = TypedDict(
    "PacketcaptureStopAfter",
    {
        # Packets
        "packets": Optional[int],
        # Bytes of records
        "bytes": Optional[int],
        # Seconds
        "seconds": Optional[int],
    },
    total=False,
)

PacketcaptureStorage = TypedDict(
    "PacketcaptureStorage",
    {
        # When data is forced to the disk: never (the system decides), every second (interval), or with each file
        # (rotate)
        "fsync": Literal["never", "interval", "rotate"],
        # Whether to replace files that earlier captures wrote; all other files are kept, and the next free name is
        # used
        "overwrite": bool,
        # Whether closed files are compressed with zstd
        "compress": bool,
        # Maximum MiB of the directory's files: then the oldest are deleted, if `rotate files` is set, or the capture
        # waits
        "ceiling": Optional[float],
        # Whether to write past the page cache: less work for the CPU, and the last MiB follows within a second; auto
        # does so while packets come fast and the disk keeps up
        "direct": Literal[False, True, "auto"],
        # MiB of memory that buffers packets while the disk is slow
        "memory": float,
    },
    total=False,
)

PacketcaptureQueue = TypedDict(
    "PacketcaptureQueue",
    {
        # Packets
        "packets": int,
        # MiB
        "size": float,
        # Packets that wait for a client
        "waiting": int,
    },
    total=False,
)

PacketcaptureProgram = TypedDict(
    "PacketcaptureProgram",
    {
        # Fields and expression together, in tcpdump's language
        "expression": str,
        # Instructions of libpcap's program
        "classic": int,
        # Instructions that the kernel runs
        "instructions": int,
    },
    total=False,
)

PacketcaptureCounters = TypedDict(
    "PacketcaptureCounters",
    {
        # Packets that passed in the captured directions
        "seen": int,
        # Packets that matched the filter, or all if there is none
        "matched": int,
        # Packets that did not match the filter
        "rejected": int,
        # Packets recorded; those of the last 100 ms may not be in the file yet
        "captured": int,
        # Recorded bytes of these packets
        "bytes": int,
        # Packets lost: the sum of all `dropped-…` counters but `dropped-limit`
        "dropped": int,
        # Packets not recorded because the ring was full
        "dropped-ring-full": int,
        # Packets not recorded because they interrupted the recording of another packet
        "dropped-nested": int,
        # Packets not recorded because the kernel could not copy them
        "dropped-fault": int,
        # Packets recorded but not written to the file
        "dropped-disk": int,
        # Packets recorded but not written to the file, because its disk has no more space than captures leave to
        # others
        "dropped-floor": int,
        # Packets discarded from network mode's full queue, the oldest first
        "dropped-queue": int,
        # Packets in files that another program removed or truncated while they were being written; `captured`
        # includes them
        "removed": int,
        # Packets that came after the limit that `stop-after` sets
        "dropped-limit": int,
    },
    total=False,
)

PacketcaptureMemory = TypedDict(
    "PacketcaptureMemory",
    {
        # What rings may take up while the capture is on and attached; most of it is made when it is first needed
        "rings": int,
        # Packets that wait for the disk
        "backlog": int,
        # Rings and backlogs of all captures
        "total": int,
        # What all captures may use: polycubed's `--capture-memory`
        "limit": int,
    },
    total=False,
)

PacketcaptureDisk = TypedDict(
    "PacketcaptureDisk",
    {
        # Bytes per second that it took of the last writes; left out before there were any
        "rate": Optional[int],
        # Whether it is slower than the packets: more than it takes in half a second waits in memory
        "is-limit": bool,
    },
    total=False,
)

PacketcaptureGlobalheader = TypedDict(
    "PacketcaptureGlobalheader",
    {
        # Magic number: byte order and resolution
        "magic": int,
        # Version of the format
        "version_major": int,
        # Minor version of the format
        "version_minor": int,
        # Seconds between UTC and the times in the file
        "thiszone": int,
        # Accuracy of the times
        "sigfigs": int,
        # Maximum recorded bytes of a packet
        "snaplen": int,
        # Link type: 1 is Ethernet
        "linktype": int,
    },
    total=False,
)

PacketcapturePacket = TypedDict(
    "PacketcapturePacket",
    {
        # Bytes of the packet that were recorded
        "capturelen": int,
        # Bytes of the packet on the wire
        "packetlen": int,
        # Timestamp: seconds since 1970
        "timestamp-seconds": int,
        # Timestamp: microseconds of that second
        "timestamp-microseconds": int,
    },
    total=False,
)

PacketcaptureFilesEntry = TypedDict(
    "PacketcaptureFilesEntry",
    {
        # Name to download it by
        "name": str,
        # Path
        "path": str,
        # Bytes
        "size": int,
        # Packets
        "packets": int,
        # Time of the first packet, in UTC
        "first": str,
        # Time of the last packet, in UTC
        "last": str,
        # open (being written), closed (complete), compressed (complete and compressed), or, if another program
        # interfered while it was being written, removed or truncated
        "state": Literal["open", "closed", "compressed", "removed", "truncated"],
    },
    total=False,
)

PacketcaptureStreamsEntry = TypedDict(
    "PacketcaptureStreamsEntry",
    {
        # Id, as in the header `Polycube-Stream` of the reader's response
        "id": int,
        # Format of the stream
        "format": Literal["pcap", "pcap-nanos", "pcapng"],
        # Where a client of PCAP-over-IP connects from
        "peer": Optional[str],
        # Packets delivered
        "packets": int,
        # Bytes of these packets
        "bytes": int,
        # Packets dropped because the reader was too slow
        "dropped": int,
    },
    total=False,
)

PacketcaptureListener = TypedDict(
    "PacketcaptureListener",
    {
        # Address and port
        "address": str,
        # Format of the stream
        "format": Literal["pcap", "pcap-nanos", "pcapng"],
        # listening, or why readers cannot connect
        "status": str,
        # Clients that are connected; `streams` has what each got of this capture
        "readers": int,
    },
    total=False,
)

PacketcaptureEphemeral = TypedDict(
    "PacketcaptureEphemeral",
    {
        # The client that created it
        "owner": str,
        # Seconds since then
        "age": int,
    },
    total=False,
)

Packetcapture = TypedDict(
    "Packetcapture",
    {
        # Name of the cube, unique among all cubes
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # Service of the cube
        "service-name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Ports and netdevs that the cube is attached to, with commas between them; empty for none
        "parent": str,
        # The same as a list
        "parents": List[str],
        # Where the cube is attached, and the chains there
        "points": List[PacketcapturePointsEntry],
        # Which packets to capture
        "capture": Literal["off", "ingress", "egress", "bidirectional"],
        # Maximum bytes to record of each packet, or `headers`: everything up to the end of the TCP, UDP, ICMP or SCTP
        # header, and no payload
        "snaplen": Union[int, str],
        # Whether DNS packets (port 53 of TCP and UDP) are recorded whole with `snaplen=headers`
        "whole-dns": bool,
        # MiB of memory that buffers packets, per CPU; reduced if all CPUs together would need more than 256 MiB
        "ring-size": Literal[1, 2, 4, 8, 16, 32, 64],
        # When the greater part of the rings is made: right after the capture is attached, or when packets come faster
        # than they are written for the first time (then an idle capture needs 1.3 MiB per CPU, and packets may be
        # lost until the rest is there, within milliseconds)
        "ring-memory": Literal["at-once", "when-needed"],
        # Scheduling priority of the thread that takes packets from the rings: high lets it run before programs that
        # compete for its CPU, which loses fewer packets and slows those down; the daemon needs `--keep-capability
        # CAP_SYS_NICE` for it
        "priority": Literal["normal", "high"],
        # Which packets to record, within VLAN tags too, and how much of them; all conditions must hold
        "filters": PacketcaptureFilters,
        # Which packets to record, in tcpdump's language (pcap-filter(7)); `all` or an empty value records every
        # packet
        "filter": Optional[str],
        # Mask of the network, on which `ip broadcast` in `filter` depends: its length, or a mask such as
        # 255.255.255.0
        "netmask": Optional[str],
        # Format of the file: pcap (microseconds), pcap-nanos, or pcapng (with directions, interfaces and drop counts)
        "format": Literal["pcap", "pcap-nanos", "pcapng"],
        # Path of the capture file, below the daemon's capture directory; the format determines its extension, and %Y,
        # %m, %d, %H, %M, %S, %F and %s in the name are the time in UTC
        "dump": Optional[str],
        # A comment that the capture's pcapng begins with
        "comment": Optional[str],
        # Where packets are kept: in files, or nowhere (none), which leaves them to streams and network mode
        "store": Literal["files", "none"],
        # A TCP connection that is not recorded, as its two ends, or all that an address has with one end; a capture
        # that is streamed over TCP leaves out what its client has with the daemon
        "without-connection": Optional[str],
        # Where readers of PCAP-over-IP get the packets, as soon as they connect: a TCP port of 127.0.0.1, or
        # ADDRESS:PORT, which everybody who reaches it can read; `/pcapng` or `/pcap-nanos` after it is another format
        # than pcap; `none` is nowhere. Captures with the same one are served together. Left out, it is polycubed's
        # `--pcap-over-ip`, if that is given
        "pcap-over-ip": Optional[str],
        # Whether packets go to a queue, from which clients take them one by one, instead of to a file
        "networkmode": bool,
        # Whether to replace addresses, preserving their prefixes, in everything that leaves the daemon
        "anonimize": bool,
        # The same as `anonimize`
        "anonymize": bool,
        # When the next file begins
        "rotate": PacketcaptureRotate,
        # When the capture stops by itself, setting `capture` to `off`
        "stop-after": PacketcaptureStopAfter,
        # How files are written and kept
        "storage": PacketcaptureStorage,
        # Limits of network mode's queue; the oldest packets are discarded
        "queue": PacketcaptureQueue,
        # Milliseconds that packets of a pcapng capture wait for the TLS keys that they need, so that these precede
        # them, once `keys` were given; 0 for none
        "keys-wait": int,
        # MiB that buffer packets for a slow reader of a stream, per reader
        "stream-buffer": float,
        # Path of the capture file
        "path": Optional[str],
        # What the capture is doing, or what prevents it
        "status": str,
        # What keeps packets from coming, such as `off` or `attached nowhere`, or from where they do not come though
        # `any` stands for it; left out if nothing does
        "idle": Optional[str],
        # The filter in force
        "program": Optional[PacketcaptureProgram],
        # Packets since the cube was created
        "counters": PacketcaptureCounters,
        # Memory in bytes
        "memory": PacketcaptureMemory,
        # The disk of the capture's files
        "disk": PacketcaptureDisk,
        # Header of the capture's pcap file
        "globalheader": PacketcaptureGlobalheader,
        # TLS keys that files and streams of pcapng get: the last MiB of those that were given with `keys`
        "tls-keys": int,
        # The packet that a client of network mode gets next; GET `packet` removes it from the queue
        "packet": PacketcapturePacket,
        # Capture files, the oldest first; files of other daemons are not listed
        "files": List[PacketcaptureFilesEntry],
        # Clients that read packets live
        "streams": List[PacketcaptureStreamsEntry],
        # The port of PCAP-over-IP; left out if there is none
        "listener": Optional[PacketcaptureListener],
        # Why the cube's plugin does not work any more
        "failure": str,
        # Whose it is, if it goes with the stream that it was created for
        "ephemeral": PacketcaptureEphemeral,
        # Settings that cannot be seen, because state is shown in their place
        "config": Dict[str, Any],
    },
    total=False,
)

PacketcaptureSettingsFilters = TypedDict(
    "PacketcaptureSettingsFilters",
    {
        # Source prefix, IPv4 or IPv6; host bits are ignored
        "src": Optional[str],
        # Destination prefix, of the same family
        "dst": Optional[str],
        # Source port, of any protocol that has ports
        "sport": Optional[int],
        # Destination port, of any protocol that has ports
        "dport": Optional[int],
        # Protocol over IP: tcp, udp, icmp, icmpv6, sctp or a number
        "l4proto": Optional[str],
        # Maximum bytes to record of each packet; the same as the cube's `snaplen`
        "snaplen": Union[int, str],
    },
    total=False,
)

PacketcaptureSettingsRotate = TypedDict(
    "PacketcaptureSettingsRotate",
    {
        # Maximum size of a file, in MiB
        "size": Optional[float],
        # Maximum time from a file's first packet to its last, in seconds
        "seconds": Optional[int],
        # Number of files that the capture keeps: the oldest are deleted
        "files": Optional[int],
    },
    total=False,
)

PacketcaptureSettingsStopAfter = TypedDict(
    "PacketcaptureSettingsStopAfter",
    {
        # Packets
        "packets": Optional[int],
        # Bytes of records
        "bytes": Optional[int],
        # Seconds
        "seconds": Optional[int],
    },
    total=False,
)

PacketcaptureSettingsStorage = TypedDict(
    "PacketcaptureSettingsStorage",
    {
        # When data is forced to the disk: never (the system decides), every second (interval), or with each file
        # (rotate)
        "fsync": Literal["never", "interval", "rotate"],
        # Whether to replace files that earlier captures wrote; all other files are kept, and the next free name is
        # used
        "overwrite": bool,
        # Whether closed files are compressed with zstd
        "compress": bool,
        # Maximum MiB of the directory's files: then the oldest are deleted, if `rotate files` is set, or the capture
        # waits
        "ceiling": Optional[float],
        # Whether to write past the page cache: less work for the CPU, and the last MiB follows within a second; auto
        # does so while packets come fast and the disk keeps up
        "direct": Literal[False, True, "auto"],
        # MiB of memory that buffers packets while the disk is slow
        "memory": float,
    },
    total=False,
)

PacketcaptureSettingsQueue = TypedDict(
    "PacketcaptureSettingsQueue",
    {
        # Packets
        "packets": int,
        # MiB
        "size": float,
    },
    total=False,
)

PacketcaptureSettings = TypedDict(
    "PacketcaptureSettings",
    {
        "name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Which packets to capture
        "capture": Literal["off", "ingress", "egress", "bidirectional"],
        # Maximum bytes to record of each packet, or `headers`: everything up to the end of the TCP, UDP, ICMP or SCTP
        # header, and no payload
        "snaplen": Union[int, str],
        # Whether DNS packets (port 53 of TCP and UDP) are recorded whole with `snaplen=headers`
        "whole-dns": bool,
        # MiB of memory that buffers packets, per CPU; reduced if all CPUs together would need more than 256 MiB
        "ring-size": Literal[1, 2, 4, 8, 16, 32, 64],
        # When the greater part of the rings is made: right after the capture is attached, or when packets come faster
        # than they are written for the first time (then an idle capture needs 1.3 MiB per CPU, and packets may be
        # lost until the rest is there, within milliseconds)
        "ring-memory": Literal["at-once", "when-needed"],
        # Scheduling priority of the thread that takes packets from the rings: high lets it run before programs that
        # compete for its CPU, which loses fewer packets and slows those down; the daemon needs `--keep-capability
        # CAP_SYS_NICE` for it
        "priority": Literal["normal", "high"],
        # Which packets to record, within VLAN tags too, and how much of them; all conditions must hold
        "filters": PacketcaptureSettingsFilters,
        # Which packets to record, in tcpdump's language (pcap-filter(7)); `all` or an empty value records every
        # packet
        "filter": Optional[str],
        # Mask of the network, on which `ip broadcast` in `filter` depends: its length, or a mask such as
        # 255.255.255.0
        "netmask": Optional[str],
        # Format of the file: pcap (microseconds), pcap-nanos, or pcapng (with directions, interfaces and drop counts)
        "format": Literal["pcap", "pcap-nanos", "pcapng"],
        # Path of the capture file, below the daemon's capture directory; the format determines its extension, and %Y,
        # %m, %d, %H, %M, %S, %F and %s in the name are the time in UTC
        "dump": Optional[str],
        # A comment that the capture's pcapng begins with
        "comment": Optional[str],
        # Where packets are kept: in files, or nowhere (none), which leaves them to streams and network mode
        "store": Literal["files", "none"],
        # A TCP connection that is not recorded, as its two ends, or all that an address has with one end; a capture
        # that is streamed over TCP leaves out what its client has with the daemon
        "without-connection": Optional[str],
        # Where readers of PCAP-over-IP get the packets, as soon as they connect: a TCP port of 127.0.0.1, or
        # ADDRESS:PORT, which everybody who reaches it can read; `/pcapng` or `/pcap-nanos` after it is another format
        # than pcap; `none` is nowhere. Captures with the same one are served together. Left out, it is polycubed's
        # `--pcap-over-ip`, if that is given
        "pcap-over-ip": Optional[str],
        # Whether packets go to a queue, from which clients take them one by one, instead of to a file
        "networkmode": bool,
        # Whether to replace addresses, preserving their prefixes, in everything that leaves the daemon
        "anonimize": bool,
        # The same as `anonimize`
        "anonymize": bool,
        # When the next file begins
        "rotate": PacketcaptureSettingsRotate,
        # When the capture stops by itself, setting `capture` to `off`
        "stop-after": PacketcaptureSettingsStopAfter,
        # How files are written and kept
        "storage": PacketcaptureSettingsStorage,
        # Limits of network mode's queue; the oldest packets are discarded
        "queue": PacketcaptureSettingsQueue,
        # Milliseconds that packets of a pcapng capture wait for the TLS keys that they need, so that these precede
        # them, once `keys` were given; 0 for none
        "keys-wait": int,
        # MiB that buffer packets for a slow reader of a stream, per reader
        "stream-buffer": float,
        # What to attach it to, with commas between several; only when the cube is made
        "parent": str,
        # The same as a list
        "parents": List[str],
    },
    total=False,
)

SimplebridgePortsEntryCounters = TypedDict(
    "SimplebridgePortsEntryCounters",
    {
        # Packets that the netdev received, on their way into the cube
        "in-packets": int,
        # Bytes that the netdev received
        "in-bytes": int,
        # Packets that the netdev sent, out of the cube
        "out-packets": int,
        # Bytes that the netdev sent
        "out-bytes": int,
    },
    total=False,
)

SimplebridgePortsEntry = TypedDict(
    "SimplebridgePortsEntry",
    {
        # Name of the port, unique in its cube
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # UP while packets can pass: the peer is a netdev that is up and has carrier, or a port that has this one as
        # its peer
        "status": Literal["UP", "DOWN"],
        # Why the port is DOWN; no-carrier: the cable or what is at its other end is missing or down; not-restored:
        # the cube could not be brought back
        "reason": Literal["no-peer", "no-netdev", "netdev-down", "no-carrier", "not-restored"],
        # Netdev on the other side, or port of another cube as CUBE:PORT, which must have this one as its peer too;
        # empty for none
        "peer": str,
        # Netdev whose packets pass the port: the peer, or the daemon's own end of a link; empty while there is none
        "netdev": str,
        # Cubes that packets from the netdev pass, in order
        "ingress-chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress-chain": str,
        # What the kernel has counted on the netdev since it was created, whatever sent it there; null while there is
        # none
        "counters": Optional[SimplebridgePortsEntryCounters],
        # Whether addresses are learned from frames that come in
        "learning": Literal["on", "off"],
        # Whether frames to stations that are not known go out here as well; broadcast and multicast always do
        "flood": Literal["on", "off"],
        # Whether nothing is forwarded between this port and others that are isolated
        "isolated": Literal["on", "off"],
    },
    total=False,
)

SimplebridgeFdbEntryEntry = TypedDict(
    "SimplebridgeFdbEntryEntry",
    {
        # MAC address
        "address": str,
        # Port of this cube that leads to the address
        "port": str,
        # Origin: the user (static), or the address's own frames (dynamic)
        "type": Literal["static", "dynamic"],
        # Seconds since the address last sent a frame; static entries have none
        "age": Optional[int],
    },
    total=False,
)

SimplebridgeFdb = TypedDict(
    "SimplebridgeFdb",
    {
        # Seconds after which an address that sends nothing is forgotten; 0 keeps it for ever
        "aging-time": int,
        # Addresses bound to a port
        "entry": List[SimplebridgeFdbEntryEntry],
    },
    total=False,
)

SimplebridgeCounters = TypedDict(
    "SimplebridgeCounters",
    {
        # Addresses that the bridge knows
        "entries": int,
        # Frames of all ports whose source was not learned because the forwarding database was full
        "fdb-full": int,
    },
    total=False,
)

SimplebridgePortCountersEntry = TypedDict(
    "SimplebridgePortCountersEntry",
    {
        # Name of the port
        "port": str,
        # Frames that entered the bridge
        "in-packets": int,
        # Bytes that entered the bridge
        "in-bytes": int,
        # Frames that left the bridge, flooded copies included
        "out-packets": int,
        # Bytes that left the bridge, flooded copies included
        "out-bytes": int,
        # Frames that entered here and were sent to all other ports
        "flooded": int,
        # Frames that entered here and were not forwarded
        "filtered": int,
    },
    total=False,
)

SimplebridgeEphemeral = TypedDict(
    "SimplebridgeEphemeral",
    {
        # The client that created it
        "owner": str,
        # Seconds since then
        "age": int,
    },
    total=False,
)

Simplebridge = TypedDict(
    "Simplebridge",
    {
        # Name of the cube, unique among all cubes
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # Service of the cube
        "service-name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Ports of the cube
        "ports": List[SimplebridgePortsEntry],
        # Forwarding database
        "fdb": SimplebridgeFdb,
        # Whether spanning trees' frames (01:80:c2:00:00:00) pass, as through Linux without one, or not (IEEE 802.1D)
        "bpdu": Literal["forward", "drop"],
        # Counters of the whole bridge
        "counters": SimplebridgeCounters,
        # Counters of each port, since the port was added
        "port-counters": List[SimplebridgePortCountersEntry],
        # Why the cube's plugin does not work any more
        "failure": str,
        # Whose it is, if it goes with the stream that it was created for
        "ephemeral": SimplebridgeEphemeral,
        # Settings that cannot be seen, because state is shown in their place
        "config": Dict[str, Any],
    },
    total=False,
)

SimplebridgeSettingsFdbEntryEntry = TypedDict(
    "SimplebridgeSettingsFdbEntryEntry",
    {
        # MAC address
        "address": str,
        # Port of this cube that leads to the address
        "port": str,
    },
    total=False,
)

SimplebridgeSettingsFdb = TypedDict(
    "SimplebridgeSettingsFdb",
    {
        # Seconds after which an address that sends nothing is forgotten; 0 keeps it for ever
        "aging-time": int,
        # Addresses bound to a port
        "entry": List[SimplebridgeSettingsFdbEntryEntry],
    },
    total=False,
)

SimplebridgeSettingsPortsEntry = TypedDict(
    "SimplebridgeSettingsPortsEntry",
    {
        "name": str,
        "peer": str,
        # Whether addresses are learned from frames that come in
        "learning": Literal["on", "off"],
        # Whether frames to stations that are not known go out here as well; broadcast and multicast always do
        "flood": Literal["on", "off"],
        # Whether nothing is forwarded between this port and others that are isolated
        "isolated": Literal["on", "off"],
    },
    total=False,
)

SimplebridgeSettings = TypedDict(
    "SimplebridgeSettings",
    {
        "name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Forwarding database
        "fdb": SimplebridgeSettingsFdb,
        # Whether spanning trees' frames (01:80:c2:00:00:00) pass, as through Linux without one, or not (IEEE 802.1D)
        "bpdu": Literal["forward", "drop"],
        # Only when the cube is made
        "ports": List[SimplebridgeSettingsPortsEntry],
    },
    total=False,
)

SpanPointsEntry = TypedDict(
    "SpanPointsEntry",
    {
        # Port, as CUBE:PORT, or netdev
        "name": str,
        # UP while packets can pass there: the netdev there is up and has carrier
        "status": Literal["UP", "DOWN"],
        # Why it is DOWN: no netdev is there, it is not set up, it has no carrier, or the cube could not be brought
        # back
        "reason": Literal["no-netdev", "netdev-down", "no-carrier", "not-restored"],
        # Cubes that packets from the wire pass there before this one
        "position": int,
        # Cubes that packets from the netdev pass, in order
        "ingress-chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress-chain": str,
    },
    total=False,
)

SpanCollector = TypedDict(
    "SpanCollector",
    {
        # Its address, IPv4 or IPv6
        "address": Optional[str],
        # What copies are wrapped in
        "encapsulation": Literal["vxlan", "gre", "erspan"],
        # Source address; by default the one that the route to the collector has
        "source": Optional[str],
        # VNI of VXLAN (1 if not set), session of ERSPAN (0 to 1023; 1 if not set), or key of GRE (none if not set)
        "id": Optional[int],
        # UDP port of VXLAN
        "port": int,
        # TTL or hop limit
        "ttl": int,
        # Differentiated services code point
        "dscp": int,
    },
    total=False,
)

SpanFilters = TypedDict(
    "SpanFilters",
    {
        # Source prefix, IPv4 or IPv6; host bits are ignored
        "src": Optional[str],
        # Destination prefix, of the same family
        "dst": Optional[str],
        # Source port, of any protocol that has ports
        "sport": Optional[int],
        # Destination port, of any protocol that has ports
        "dport": Optional[int],
        # Protocol over IP: tcp, udp, icmp, icmpv6, sctp or a number
        "l4proto": Optional[str],
    },
    total=False,
)

SpanWay = TypedDict(
    "SpanWay",
    {
        # Netdev by which copies leave
        "netdev": Optional[str],
        # Source address of the outer header
        "source": Optional[str],
        # Next machine on the way to the collector
        "neighbour": Optional[str],
        # Whether that machine answers, as far as the kernel knows; left out while it has not been asked
        "answers": Optional[bool],
        # Maximum bytes of a copy with its outer IP header; longer ones are cut
        "mtu": Optional[int],
    },
    total=False,
)

SpanCounters = TypedDict(
    "SpanCounters",
    {
        # Copies
        "mirrored-packets": int,
        # Bytes of the copies, without outer headers
        "mirrored-bytes": int,
        # Copies that were cut to what the way to the collector takes; those that `snaplen` cuts do not count
        "shortened": int,
        # Packets that the filter left out
        "filtered": int,
        # Packets that were not sampled
        "sampled-out": int,
        # Copies that passed here again, and ICMP errors about copies, which are not mirrored
        "again": int,
        # Packets that were not mirrored because the netdev, or a route to the collector, was missing
        "no-way": int,
        # Packets of which the kernel made no copy, or sent none
        "failed": int,
    },
    total=False,
)

SpanProgram = TypedDict(
    "SpanProgram",
    {
        # Filters and expression as one
        "expression": str,
        # Number of instructions of the eBPF program
        "instructions": int,
    },
    total=False,
)

SpanEphemeral = TypedDict(
    "SpanEphemeral",
    {
        # The client that created it
        "owner": str,
        # Seconds since then
        "age": int,
    },
    total=False,
)

Span = TypedDict(
    "Span",
    {
        # Name of the cube, unique among all cubes
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # Service of the cube
        "service-name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Ports and netdevs that the cube is attached to, with commas between them; empty for none
        "parent": str,
        # The same as a list
        "parents": List[str],
        # Where the cube is attached, and the chains there
        "points": List[SpanPointsEntry],
        # Which packets to mirror
        "direction": Literal["ingress", "egress", "bidirectional"],
        # Where copies go on this machine: out of a netdev, or into a port of a cube (`br1:p1`), as if they had come
        # in there
        "target": Optional[str],
        # Where copies go on another machine, instead of `target`
        "collector": SpanCollector,
        # Maximum bytes of a copy, without outer headers
        "snaplen": int,
        # One in so many packets is mirrored, each chosen at random
        "sample": int,
        # Which packets to mirror, within VLAN tags too; all conditions must hold
        "filters": SpanFilters,
        # Which packets to mirror, in tcpdump's language (pcap-filter(7)); `all` or an empty value mirrors every
        # packet
        "filter": Optional[str],
        # Mask of the network, on which `ip broadcast` in `filter` depends: its length, or a mask such as
        # 255.255.255.0
        "netmask": Optional[str],
        # What it does, or what is missing
        "status": str,
        # Where copies go
        "way": SpanWay,
        # Counters since the cube was created
        "counters": SpanCounters,
        # The filter in the kernel
        "program": Optional[SpanProgram],
        # Why the cube's plugin does not work any more
        "failure": str,
        # Whose it is, if it goes with the stream that it was created for
        "ephemeral": SpanEphemeral,
        # Settings that cannot be seen, because state is shown in their place
        "config": Dict[str, Any],
    },
    total=False,
)

SpanSettingsCollector = TypedDict(
    "SpanSettingsCollector",
    {
        # Its address, IPv4 or IPv6
        "address": Optional[str],
        # What copies are wrapped in
        "encapsulation": Literal["vxlan", "gre", "erspan"],
        # Source address; by default the one that the route to the collector has
        "source": Optional[str],
        # VNI of VXLAN (1 if not set), session of ERSPAN (0 to 1023; 1 if not set), or key of GRE (none if not set)
        "id": Optional[int],
        # UDP port of VXLAN
        "port": int,
        # TTL or hop limit
        "ttl": int,
        # Differentiated services code point
        "dscp": int,
    },
    total=False,
)

SpanSettingsFilters = TypedDict(
    "SpanSettingsFilters",
    {
        # Source prefix, IPv4 or IPv6; host bits are ignored
        "src": Optional[str],
        # Destination prefix, of the same family
        "dst": Optional[str],
        # Source port, of any protocol that has ports
        "sport": Optional[int],
        # Destination port, of any protocol that has ports
        "dport": Optional[int],
        # Protocol over IP: tcp, udp, icmp, icmpv6, sctp or a number
        "l4proto": Optional[str],
    },
    total=False,
)

SpanSettings = TypedDict(
    "SpanSettings",
    {
        "name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Which packets to mirror
        "direction": Literal["ingress", "egress", "bidirectional"],
        # Where copies go on this machine: out of a netdev, or into a port of a cube (`br1:p1`), as if they had come
        # in there
        "target": Optional[str],
        # Where copies go on another machine, instead of `target`
        "collector": SpanSettingsCollector,
        # Maximum bytes of a copy, without outer headers
        "snaplen": int,
        # One in so many packets is mirrored, each chosen at random
        "sample": int,
        # Which packets to mirror, within VLAN tags too; all conditions must hold
        "filters": SpanSettingsFilters,
        # Which packets to mirror, in tcpdump's language (pcap-filter(7)); `all` or an empty value mirrors every
        # packet
        "filter": Optional[str],
        # Mask of the network, on which `ip broadcast` in `filter` depends: its length, or a mask such as
        # 255.255.255.0
        "netmask": Optional[str],
        # What to attach it to, with commas between several; only when the cube is made
        "parent": str,
        # The same as a list
        "parents": List[str],
    },
    total=False,
)

TransparenthelloworldPointsEntry = TypedDict(
    "TransparenthelloworldPointsEntry",
    {
        # Port, as CUBE:PORT, or netdev
        "name": str,
        # UP while packets can pass there: the netdev there is up and has carrier
        "status": Literal["UP", "DOWN"],
        # Why it is DOWN: no netdev is there, it is not set up, it has no carrier, or the cube could not be brought
        # back
        "reason": Literal["no-netdev", "netdev-down", "no-carrier", "not-restored"],
        # Cubes that packets from the wire pass there before this one
        "position": int,
        # Cubes that packets from the netdev pass, in order
        "ingress-chain": str,
        # Cubes that packets to the netdev pass, in order
        "egress-chain": str,
    },
    total=False,
)

TransparenthelloworldSlowPath = TypedDict(
    "TransparenthelloworldSlowPath",
    {
        # Packets that user space has received
        "packets": int,
        # Packets that were lost because user space was too slow
        "lost": int,
        # Packets that had waited for more than a second when user space began to read, because no daemon ran, and
        # went no further
        "expired": int,
        # Packets that could not go on: the cube was detached meanwhile, or they were too long for user space
        "stopped": int,
    },
    total=False,
)

TransparenthelloworldEphemeral = TypedDict(
    "TransparenthelloworldEphemeral",
    {
        # The client that created it
        "owner": str,
        # Seconds since then
        "age": int,
    },
    total=False,
)

Transparenthelloworld = TypedDict(
    "Transparenthelloworld",
    {
        # Name of the cube, unique among all cubes
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # Service of the cube
        "service-name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Ports and netdevs that the cube is attached to, with commas between them; empty for none
        "parent": str,
        # The same as a list
        "parents": List[str],
        # Where the cube is attached, and the chains there
        "points": List[TransparenthelloworldPointsEntry],
        # What becomes of packets towards the parent: PASS lets them pass, DROP drops them, SLOWPATH takes them
        # through user space, where they are logged and counted, and go on
        "ingress-action": Literal["DROP", "PASS", "SLOWPATH"],
        # What becomes of packets from the parent, likewise
        "egress-action": Literal["DROP", "PASS", "SLOWPATH"],
        # Packets on the slow path
        "slow-path": TransparenthelloworldSlowPath,
        # Why the cube's plugin does not work any more
        "failure": str,
        # Whose it is, if it goes with the stream that it was created for
        "ephemeral": TransparenthelloworldEphemeral,
        # Settings that cannot be seen, because state is shown in their place
        "config": Dict[str, Any],
    },
    total=False,
)

TransparenthelloworldSettings = TypedDict(
    "TransparenthelloworldSettings",
    {
        "name": str,
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # What becomes of packets towards the parent: PASS lets them pass, DROP drops them, SLOWPATH takes them
        # through user space, where they are logged and counted, and go on
        "ingress-action": Literal["DROP", "PASS", "SLOWPATH"],
        # What becomes of packets from the parent, likewise
        "egress-action": Literal["DROP", "PASS", "SLOWPATH"],
        # What to attach it to, with commas between several; only when the cube is made
        "parent": str,
        # The same as a list
        "parents": List[str],
    },
    total=False,
)

ErrorsIetfRestconfErrorsErrorEntry = TypedDict(
    "ErrorsIetfRestconfErrorsErrorEntry",
    {
        "error-type": Literal["application"],
        "error-tag": Literal["invalid-value", "bad-attribute", "missing-attribute", "data-exists", "data-missing", "unknown-element", "operation-not-supported", "operation-failed"],
        # What it is about: a path below /polycube/v1/
        "error-path": str,
        # What is wrong and what to do, in one line
        "error-message": str,
        "error-info": ErrorInfo,
    },
    total=False,
)

ErrorsIetfRestconfErrors = TypedDict(
    "ErrorsIetfRestconfErrors",
    {
        "error": List[ErrorsIetfRestconfErrorsErrorEntry],
    },
    total=False,
)

Errors = TypedDict(
    "Errors",
    {
        "ietf-restconf:errors": ErrorsIetfRestconfErrors,
    },
    total=False,
)

CubeEphemeral = TypedDict(
    "CubeEphemeral",
    {
        # The client that created it
        "owner": str,
        # Seconds since then
        "age": int,
    },
    total=False,
)

Cube = TypedDict(
    "Cube",
    {
        # Hook that the cube's programs run at
        "type": Literal["TC"],
        # How much the cube logs
        "loglevel": Literal["TRACE", "DEBUG", "INFO", "WARN", "ERR", "CRITICAL", "OFF"],
        # Name of the cube, unique among all cubes
        "name": str,
        # Id, assigned by the daemon
        "uuid": str,
        # Service of the cube
        "service-name": str,
        # Ports of a standard cube
        "ports": List[Port],
        # What a transparent cube is attached to, with commas; empty for nothing
        "parent": str,
        # Settings that are not as they would be by default
        "config": Dict[str, Any],
        # Whose it is, if it goes with the stream that it was created for
        "ephemeral": CubeEphemeral,
        # The same, one by one
        "parents": List[str],
    },
    total=False,
)
