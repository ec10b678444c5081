#!/bin/bash
# Passes packets through @name@ in a real kernel: a daemon with nothing else, in network and mount namespaces of its own.
#
#     tests/packets.sh DIRECTORY-OF-THE-PLUGIN
#
# Needs root, iproute2, and polycubed and polycubectl on PATH.
set -eu

if [ "${2:-}" != inside ]; then
	exec unshare --net --mount --fork --kill-child -- "$0" "$(realpath "$1")" inside
fi

work=$(mktemp -d)
processes=
finish() {
	kill $processes 2>/dev/null || :
	wait
	umount "$work/bpf" 2>/dev/null || :
	rm -rf "$work"
}
trap finish EXIT
fail() {
	echo "packets.sh: $*" >&2
	cat "$work/log" >&2
	exit 1
}

# A neighbour: a network namespace with eth0, which is wired to our interface.
neighbour() { # INTERFACE ADDRESS
	unshare --net sleep 600 &
	there=$!
	processes="$processes $there"
	while [ "$(readlink /proc/$there/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
	ip link add "$1" type veth peer name eth0 netns "$there"
	nsenter --net=/proc/$there/ns/net ip address add "$2/24" dev eth0
	nsenter --net=/proc/$there/ns/net ip link set eth0 up
	ip link set "$1" up
}
# Whether a host answers: it refuses a connection to a port where nothing listens. Without an answer, time runs out.
answers() { # FROM ADDRESS
	local status=0
	timeout 4 nsenter --net=/proc/$1/ns/net bash -c "exec 3<>/dev/tcp/$2/9" 2>/dev/null || status=$?
	[ $status -ne 124 ]
}
ctl() { polycubectl --url "unix://$work/socket" "$@" || fail "polycubectl $*"; }

mkdir "$work/bpf"
mount -t bpf none "$work/bpf"
ip link set lo up
neighbour veth1 10.0.0.1
first=$there
polycubed --config /dev/null --ephemeral --socket "$work/socket" --state-dir "$work/state" --bpffs "$work/bpf/polycube" \
	--plugin-dir "$1" >"$work/log" 2>&1 &
processes="$processes $!"
answers_us() { polycubectl --url "unix://$work/socket" services show >/dev/null 2>&1; }
for _ in $(seq 200); do answers_us && break; sleep 0.05; done
answers_us || fail "the daemon does not answer"
@load@
ctl @name@ add f1
