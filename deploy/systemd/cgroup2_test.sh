#!/bin/bash
# The limits of guests with control groups of version 2, all of whose controllers are systemd's to delegate: Debian's own
# kernel and systemd in a virtual machine (emulated, so no KVM is needed), with this host's /usr, our programs and units.
# Needs root. Debian's kernel is downloaded, not installed.
#
#   cgroup2_test.sh UMLD UMLCTL VMCORE      (the programs; default: what `bazel build` left)
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$(dirname "$here")")
umld=$(readlink -f "${1:-$top/bazel-bin/umld/umld}")
umlctl=$(readlink -f "${2:-$top/bazel-bin/umlctl/umlctl}")
vmcore=$(readlink -f "${3:-$top/bazel-bin/vmcore/vmcore}")

fail() {
  echo "FAILED: $*" >&2
  exit 1
}
[[ $(id -u) -eq 0 ]] || fail "this test downloads a kernel and copies root's files: it needs root"
for needed in qemu-system-x86_64:qemu-system-x86 modprobe:kmod busybox:busybox-static mke2fs:e2fsprogs; do
  command -v "${needed%%:*}" >/dev/null || fail "${needed%%:*} is missing: install the Debian package ${needed#*:}"
done

work=$(mktemp -d /tmp/umld-cgroup2.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM INT

# ---------------------------------------------------------------- Debian's kernel, and an initramfs that finds the root

package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
chmod 755 "$work"
mkdir -m 777 "$work/kernel"
(cd "$work/kernel" && apt-get download "$package" >/dev/null 2>&1) || fail "Debian's kernel $package cannot be downloaded"
dpkg -x "$work/kernel"/*.deb "$work/kernel"
version=$(basename "$work"/kernel/lib/modules/*)
depmod -b "$work/kernel" "$version"

initramfs=$work/initramfs
mkdir -p "$initramfs"/{bin,modules,proc,sys,dev,new,lower/usr,lower/root}
cp "$(command -v busybox)" "$initramfs/bin/busybox"
for applet in sh mount insmod mkdir cp switch_root; do ln -s busybox "$initramfs/bin/$applet"; done
inserts=
for module in virtio_pci virtio_blk 9pnet_virtio 9p overlay ext4; do
  while read -r _ file _; do
    [[ $inserts == *"/$(basename "$file")"$'\n'* ]] && continue
    cp "$file" "$initramfs/modules/"
    inserts+="insmod /modules/$(basename "$file")"$'\n'
  done < <(modprobe -d "$work/kernel" -S "$version" --show-depends "$module" | grep ^insmod)
done
# A tmpfs with /etc and our programs, this host's /usr under them; umld's state on ext4, which can lend disks.
cat >"$initramfs/init" <<INIT
#!/bin/sh
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
$inserts
mount -t tmpfs -o mode=0755,size=1G root /new
for share in root usr; do mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 \$share /lower/\$share; done
cp -a /lower/root/. /new/
mkdir -p /new/overlay/work /new/var/lib/umld
mount -t overlay -o lowerdir=/lower/usr,upperdir=/new/overlay/usr,workdir=/new/overlay/work usr /new/usr
mount -t ext4 /dev/vda /new/var/lib/umld
exec switch_root /new /usr/lib/systemd/systemd
INIT
chmod +x "$initramfs/init"
(cd "$initramfs" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

# ---------------------------------------------------------------- the root

root=$work/root
mkdir -p "$root"/{usr,etc/systemd/system,var,run,proc,sys,dev,tmp,root,home} "$root"/overlay/usr
chmod 1777 "$root/tmp"
for link in bin sbin lib lib32 lib64 libx32; do
  [[ -L /$link ]] && ln -s "usr/$link" "$root/$link"
done
for file in passwd group nsswitch.conf ld.so.conf ld.so.conf.d ld.so.cache mke2fs.conf pam.d alternatives; do
  [[ -e /etc/$file ]] && cp -a "/etc/$file" "$root/etc/"
done
ln -s ../usr/lib/os-release "$root/etc/os-release"
systemd-id128 new >"$root/etc/machine-id"
echo umld-test >"$root/etc/hostname"
upper=$root/overlay/usr
install -D -m 0755 -t "$upper/bin" "$umld" "$umlctl"
install -D -m 0755 -t "$upper/lib/umld" "$vmcore" "$here"/{keep,stop}-*
install -D -m 0644 -t "$upper/lib/systemd/system" "$here"/*.service "$here"/*.socket "$here"/*.target
cat >"$root/etc/systemd/system/default.target" <<'UNIT'
[Unit]
Requires=basic.target test.service
After=basic.target
UNIT
cat >"$root/etc/systemd/system/test.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/root/test
ExecStopPost=/usr/bin/systemctl poweroff -ff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT
cat >"$root/root/test" <<'TEST'
#!/bin/bash
export PATH=/usr/bin:/usr/sbin HOME=/root
fail() {
  echo "FAILED: $*"
  umlctl list
  journalctl --no-pager -o cat -u umld -u umld-guests | tail -n 40
  exit 1
}
step() { echo "== $*"; }
groups=/sys/fs/cgroup/system.slice/umld-guests.service
group_of() { echo "$groups/umld-$1-"*; }
has() { # GUEST FILE WANTED
  local found
  found=$(cat "$(group_of "$1")/$2" 2>&1)
  [[ $found == "$3" ]] || fail "$2 of $1 is $found, not $3"
}
state() { umlctl list --no-headers | awk -v guest="$1" '$1 == guest { print $2 }'; }
within() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 1
  done
}
has_state() { [[ $(state "$1") == "$2" ]]; }
# Typed with a look in between: login throws away what was typed ahead.
in_guest() { # GUEST COMMAND
  { sleep 1; printf '\n'; sleep 3; printf 'root\n'; sleep 4; printf '%s\n' "$2"; sleep 2; } |
    umlctl console "$1" --linger "${3:-3s}" 2>/dev/null
}

[[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]] || fail "this is no host with control groups of version 2"
systemctl start umld.socket
step "what the host offers"
umlctl host check || fail "the host check is not content"
umlctl image build tiny >/dev/null 2>&1 || fail "no image"

step "limits are the kernel's"
umlctl create web1 --image tiny --mem 64M --cpu 50 --pids 200 --memory-max 128M --disk-bandwidth 8M
umlctl start web1 || fail "web1 does not start"
has web1 memory.max 134217728
has web1 pids.max 200
has web1 cpu.max "50000 100000"
umlctl describe web1 | grep -q "memory limit: *128 MiB" || fail "describe says nothing of the limit"

step "and change while it runs"
umlctl set web1 --memory-max 200M --cpu 80 --pids 300 || fail "set"
has web1 memory.max 209715200
has web1 pids.max 300
has web1 cpu.max "80000 100000"

step "a busy guest is held back"
within 60 sh -c 'umlctl logs web1 con1 | grep -q "web1 login:"' || fail "web1 has no login"
in_guest web1 'while :; do :; done' >/dev/null
throttled() { [[ $(sed -n 's/^nr_throttled //p' "$(group_of web1)/cpu.stat") -gt 5 ]]; }
within 60 throttled || fail "nobody held it back: $(cat "$(group_of web1)/cpu.stat")"

step "a guest that needs more memory than it may is ended, and it alone"
umlctl create hog --image tiny --mem 256M --memory-max 64M
umlctl start hog || fail "hog does not start"
within 120 sh -c 'umlctl logs hog con1 | grep -q "hog login:"' || fail "hog has no login"
in_guest hog 'dd if=/dev/zero of=/tmp/full bs=1M count=180' 20s >/dev/null
within 120 has_state hog CRASHED || fail "hog is $(state hog): $(cat "$(group_of hog)/memory.events")"
umlctl describe hog | grep -qi "memory" || fail "nothing says why hog ended: $(umlctl describe hog)"
has_state web1 RUNNING || fail "web1 is $(state web1) after hog's end"
systemctl is-active --quiet umld.service umld-guests.service || fail "a unit ended with hog"
[[ ! -d $(group_of hog) ]] || fail "hog's group is still there"

step "umld is restarted"
systemctl restart umld.service
within 30 has_state web1 RUNNING || fail "web1 is $(state web1) after a restart of umld"
umlctl set web1 --pids 250 || fail "set after the restart"
has web1 pids.max 250

step "the process that keeps the groups is killed"
kill -9 "$(systemctl show -p MainPID --value umld-guests.service)"
sleep 3
has_state web1 RUNNING || fail "web1 is $(state web1) when the keeper was killed"
umlctl start hog || fail "no guest starts without the keeper"
has hog memory.max 67108864

step "nothing stays"
umlctl delete --all --force || fail "delete"
[[ -z $(find "$groups" -mindepth 1 -maxdepth 1 -type d -name 'umld-*') ]] || fail "groups stay: $(ls "$groups")"
echo "all passed"
TEST
chmod +x "$root/root/test"

# ---------------------------------------------------------------- the machine

truncate -s 3G "$work/state"
mke2fs -q -F -t ext4 "$work/state"
share() { echo "-fsdev local,id=$1,path=$2,security_model=none,readonly=on -device virtio-9p-pci,fsdev=$1,mount_tag=$1"; }
# shellcheck disable=SC2046
timeout 840 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 3G -nographic -no-reboot -nodefaults -serial stdio \
  -kernel "$work/kernel/boot/vmlinuz-$version" -initrd "$work/initrd" \
  -append "console=ttyS0 quiet panic=-1 systemd.show_status=0" -drive "file=$work/state,format=raw,if=virtio" \
  $(share usr /usr) $(share root "$root") </dev/null | tee "$work/output" || fail "the machine did not end by itself"
grep -q "^all passed" "$work/output" || fail "see above"
