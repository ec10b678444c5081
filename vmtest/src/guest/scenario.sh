#!/bin/busybox sh
# A bridge and a capture with a filter outlive a daemon that is killed, and the next daemon goes on with them.
set -eu
export POLYCUBECTL_URL=unix:///tmp/sock

# Otherwise busybox takes its own, which knows no namespaces.
ip() { /bin/ip "$@"; }

start() {
    polycubed --socket /tmp/sock --state-dir /tmp/state --capture-dir /tmp/captures >>/tmp/log 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        if polycubectl version >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    cat /tmp/log
    echo "the daemon does not answer"
    exit 1
}

expect() {
    if [ "$2" != "$3" ]; then
        echo "$1: $2 instead of $3"
        cat /tmp/log
        exit 1
    fi
    echo "$1: $2"
}

mkdir -p /tmp/captures
for i in 1 2; do
    ip netns add "host$i"
    ip link add "veth$i" type veth peer name eth0 netns "host$i"
    ip link set "veth$i" up
    ip -n "host$i" addr add "10.0.0.$i/24" dev eth0
    ip -n "host$i" link set eth0 up
done
start
polycubectl simplebridge add br1
polycubectl br1 ports add toveth1 peer=veth1
polycubectl br1 ports add toveth2 peer=veth2
polycubectl packetcapture add sniffer capture=bidirectional filter='icmp and host 10.0.0.2'
polycubectl attach sniffer br1:toveth1
polycubectl attach sniffer veth2
ip netns exec host1 ping -c 3 -W 10 10.0.0.2
expect "captured at two places" "$(polycubectl sniffer show counters captured)" 12
before=$(polycubectl topology)

kill -9 "$daemon"
wait "$daemon" || true
ip netns exec host1 ping -c 3 -W 10 10.0.0.2
start
expect "the topology after the restart" "$(polycubectl topology)" "$before"
expect "captured meanwhile" "$(polycubectl sniffer show counters captured)" 24
ip netns exec host1 ping -c 1 -W 10 10.0.0.2
expect "captured by the next daemon" "$(polycubectl sniffer show counters captured)" 28

# The programs at which the verifier looks longest.
polycubectl packetcapture add heads capture=bidirectional format=pcapng snaplen=headers whole-dns=true filter=icmp
polycubectl attach heads veth2
ip netns exec host1 ping -c 1 -W 10 10.0.0.2
expect "captured without payload" "$(polycubectl heads show counters captured)" 2
polycubectl del heads

polycubectl sniffer set capture=off
polycubectl del sniffer
polycubectl del br1
kill "$daemon"
wait "$daemon" || true
polycubed cleanup --state-dir /tmp/state
expect "directories of pins that are left" "$(ls /sys/fs/bpf | wc -l)" 0
ip netns del host1
ip netns del host2
