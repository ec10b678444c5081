#!/bin/busybox sh
# The first process of the emulated machine.
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
/bin/busybox --install -s /sbin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin:/p HOME=/root POLYCUBE_BIN_DIR=/p
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/netns
depmod
# Those that were packed; what the kernel has built in is not among them.
find /lib/modules -name '*.ko*' | while read -r file; do
    name=${file##*/}
    modprobe "${name%%.*}"
done
ip link set lo up
cd /tmp

failed=
attempt() {
    echo "vmtest: $1 begins, Linux $(uname -r)"
    name=$1
    shift
    if "$@"; then echo "vmtest: $name passed"; else failed="$failed $name"; fi
}
attempt demo tasks demo
attempt scenario /scenario
for test in /p/test/*; do
    if [ -e "$test" ]; then attempt "${test##*/}" "$test" --test-threads 1; fi
done
if [ -z "$failed" ]; then echo "vmtest: passed"; else echo "vmtest: failed:$failed"; fi
poweroff -f
