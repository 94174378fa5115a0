#!/bin/bash
# cgroup_test on a kernel with control groups of version 2, whatever the host has: in a UML guest whose root is the
# host's file system, read-only. usage: cgroup_v2_test.sh CGROUP_TEST
set -euo pipefail
if [[ $EUID -ne 0 ]]; then
  echo "skipped: needs root"
  exit 0
fi
binary=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
truncate -s 64M "$work/disk"
mke2fs -q -t ext4 "$work/disk"
cat >"$work/init" <<INIT
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t ext4 /dev/ubda /mnt
TEST_TMPDIR=/mnt $binary --gtest_color=no
echo "exit code \$?"
busybox poweroff -f
INIT
chmod 755 "$work/init"
timeout 120 linux.uml umid="cgroup-v2-test-$$" uml_dir="$work/uml" mem=192M ubda="$work/disk" root=none \
  rootfstype=hostfs rootflags=/ ro init="$work/init" con0=fd:0,fd:1 con=null quiet </dev/null >"$work/out" 2>&1 || true
cat "$work/out"
grep -q 'exit code 0' "$work/out"
for name in LimitsAreInForceAndCanBeChanged DisksAreLimitedOnTheirDevices MemoryBeyondTheLimitIsTold \
  ALimitBelowWhatIsUsedIsRefused WhatAKilledSupervisorLeftIsRemovedByItsRecord; do
  grep -q "OK \] RealGroups.$name" "$work/out"
done
