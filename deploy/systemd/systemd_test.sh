#!/bin/bash
# The units under a real systemd: a container of this host's own /usr, with an /etc, /var and /run of its own, is booted
# with our programs and units in it, and real guests run inside. Needs root, installs nothing.
#
#   systemd_test.sh UMLD UMLCTL VMCORE      (the programs; default: what `bazel build` left)
#
# An overlay over /usr and not a tree made by mmdebstrap: no download, a second to make, and the libraries are those
# that the programs were built against.
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

needs() { # FILE PACKAGE
  [[ -e $1 ]] || fail "$1 is missing: install the Debian package $2"
}
[[ $(id -u) -eq 0 ]] || fail "this test boots a container and needs root"
needs /usr/bin/systemd-nspawn systemd-container
needs /usr/lib/systemd/systemd systemd
needs /usr/bin/dbus-daemon dbus
needs /usr/bin/nsenter util-linux
needs /usr/bin/pgrep procps
needs /usr/bin/linux.uml user-mode-linux
needs /usr/bin/uml_mconsole uml-utilities
needs /usr/bin/busybox busybox-static
needs /usr/sbin/mke2fs e2fsprogs
for program in "$umld" "$umlctl" "$vmcore"; do
  [[ -x $program ]] || fail "$program is missing: bazel build -c opt //umld //umlctl //vmcore"
done

# All mounts and processes live in namespaces of this test's and go with them, however it ends.
if [[ -z ${UMLD_TEST_UNSHARED:-} ]]; then
  exec env UMLD_TEST_UNSHARED=1 unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    "$0" "$umld" "$umlctl" "$vmcore"
fi

# A namespace's first process gets no signal that it does not ask for.
trap 'exit 143' TERM INT
work=$(mktemp -d /tmp/umld-systemd.XXXXXX)
mount -t tmpfs -o mode=0755 umld-systemd "$work"
# nspawn leaves folders in there.
mount -t tmpfs -o mode=0755 umld-systemd /run
root=$work/root
console=$work/console
nspawn=""
# The control group that the container lives in, which nspawn leaves behind when it cannot ask systemd to remove it.
group=${work##*/}
cgroup_mounts() { awk '$3 == "cgroup" && $4 ~ /name=systemd/ || $3 == "cgroup2" { print $2 }' /proc/self/mounts; }

# shellcheck disable=SC2317  # called by the trap
leave() {
  local code=$?
  trap - EXIT
  if [[ $code -ne 0 && -n $nspawn ]]; then
    echo "--- the container's console, the end:" >&2
    tail -n 40 "$console" >&2
    echo "--- its journal, the end:" >&2
    inside journalctl --no-pager -n 80 >&2 2>/dev/null || true
  fi
  if [[ -n $nspawn ]] && kill -0 "$nspawn" 2>/dev/null; then
    # Its pid 1 is the init of a PID namespace: nothing inside outlives it.
    kill -KILL "$(leader)" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
  fi
  local mount
  for mount in $(cgroup_mounts); do
    [[ -d $mount/$group ]] || continue
    find "$mount/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    if [[ -d $mount/$group ]]; then
      echo "left behind: $mount/$group" >&2
      code=1
    fi
  done
  umount /run 2>/dev/null || umount -l /run
  umount -R "$work" 2>/dev/null || umount -l "$work"
  rmdir "$work"
  [[ $code -eq 0 ]] && echo "all passed"
  exit "$code"
}
trap leave EXIT

step() { echo "== $*"; }

# ---------------------------------------------------------------- the container

make_root() {
  mkdir -p "$root"/{usr,etc/systemd/system,var,run,proc,sys,dev,tmp,root,home,mnt,srv,boot} "$work"/{upper,overlay}
  chmod 1777 "$root/tmp"
  local link
  for link in bin sbin lib lib32 lib64 libx32; do
    [[ -L /$link ]] && ln -s "usr/$link" "$root/$link"
  done
  mount -t overlay -o "lowerdir=/usr,upperdir=$work/upper,workdir=$work/overlay" umld-systemd "$root/usr"
  local file
  for file in passwd group nsswitch.conf ld.so.conf ld.so.conf.d ld.so.cache mke2fs.conf pam.d alternatives; do
    [[ -e /etc/$file ]] && cp -a "/etc/$file" "$root/etc/"
  done
  ln -s ../usr/lib/os-release "$root/etc/os-release"
  # Empty would be a first boot, at which systemd enables all that it finds.
  systemd-id128 new >"$root/etc/machine-id"
  echo umld-test >"$root/etc/hostname"
  # What the host's packages start and a container cannot or need not run.
  local unit
  for unit in systemd-logind.service e2scrub_reap.service systemd-networkd.service systemd-resolved.service \
    console-getty.service container-getty@.service getty.target systemd-firstboot.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
  done
  ln -s /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
}

install_umld() {
  install -D -m 0755 -t "$root/usr/bin" "$umld" "$umlctl"
  install -D -m 0755 -t "$root/usr/lib/umld" "$vmcore" "$here/keep-group" "$here/stop-guests"
  install -D -m 0644 -t "$root/usr/lib/systemd/system" "$here"/*.service "$here"/*.socket "$here"/*.target
}

# The container's pid 1, as this host sees it; another one after each reboot.
leader() { pgrep -P "$nspawn" -x systemd || pgrep -P "$nspawn" -x init; }

inside() {
  local pid
  pid=$(leader) || return 1
  nsenter --target "$pid" --mount --uts --ipc --net --pid --root --wd \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

boot() {
  # A control group of its own, entered before nspawn makes its own below the one it finds itself in.
  (
    for mount in $(cgroup_mounts); do
      mkdir -p "$mount/$group"
      echo "$BASHPID" >"$mount/$group/cgroup.procs"
    done
    exec systemd-nspawn --quiet --directory="$root" --machine=umld-test --boot --register=no --keep-unit \
      --private-network --console=pipe --link-journal=no --resolv-conf=off --timezone=off \
      systemd.log_color=0 </dev/null >>"$console" 2>&1
  ) &
  nspawn=$!
}

# Its exit code is nspawn's.
has_ended() { # SECONDS
  local deadline=$((SECONDS + $1)) pid=$nspawn
  while kill -0 "$nspawn" 2>/dev/null; do
    [[ $SECONDS -lt $deadline ]] || fail "the container does not go down"
    sleep 0.2
  done
  nspawn=""
  wait "$pid"
}

# As `systemctl reboot` does when there is no logind to ask.
go_down() { inside systemctl start --job-mode=replace-irreversibly --no-block "$1"; } # TARGET

# Until COMMAND succeeds.
within() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@" 2>/dev/null; do
    kill -0 "$nspawn" 2>/dev/null || fail "the container has ended"
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 0.1
  done
}

is_up() { [[ $(inside systemctl is-system-running 2>/dev/null) == running ]]; }
expect_up() {
  within 120 is_up || {
    inside systemctl --failed --no-legend >&2 || true
    inside systemctl list-jobs >&2 || true
    fail "the boot does not reach \"running\": $(inside systemctl is-system-running || true)"
  }
}

# ---------------------------------------------------------------- what is asked of it

property() { inside systemctl show --property="$2" --value "$1"; } # UNIT PROPERTY
is_active() { [[ $(property "$1" ActiveState) == active ]]; }
is_failed() { [[ $(property "$1" ActiveState) == failed ]]; }
is_inactive() { [[ $(property "$1" ActiveState) == inactive ]]; }
ctl() { inside umlctl "$@"; }
described() { ctl describe "$1" | sed -nE "s/^ *$2:? +//p"; } # GUEST LABEL
state() { ctl list --no-headers | awk -v guest="$1" '$1 == guest { print $2 }'; }
has_state() { [[ $(state "$1") == "$2" ]]; } # GUEST STATE
kernel_pid() { described "$1" Processes | sed -nE 's/.*kernel ([0-9]+).*/\1/p'; }
# Not `grep -q`: it would leave before journalctl has said all, which then fails.
journal_says() { inside journalctl --no-pager -o cat -b -u "$1" | grep -E -- "$2" >/dev/null; } # UNIT REGEX

expect_same_kernel() { # GUEST PID AFTER-WHAT
  local now
  now=$(kernel_pid "$1")
  [[ -n $2 && $now == "$2" ]] || fail "$3: the kernel of $1 was process ${2:-none}, now it is ${now:-none}"
  inside test -d "/proc/$2" || fail "$3: process $2 is gone"
  has_state "$1" RUNNING || fail "$3: $1 is $(state "$1")"
}
expect_new_umld() { # OLD-PID AFTER-WHAT
  local now
  now=$(property umld.service MainPID)
  [[ $now != 0 && $now != "$1" ]] || fail "$2: umld was process $1, now it is $now"
}
umld_is_new() { local now; now=$(property umld.service MainPID); [[ $now != 0 && $now != "$1" ]] && is_active umld.service; }

# ---------------------------------------------------------------- the test

make_root
install_umld

step "systemd-analyze verify has nothing to say"
# In the root, where the programs are; without manual pages, which are another package's business.
said=$(systemd-analyze verify --man=no --root="$root" --recursive-errors=no umld.service umld.socket uml@web1.service \
  uml-fleet.target umld-guests.service 2>&1) || true
[[ -z $said ]] || fail "systemd-analyze verify: $said"

step "boot"
boot
within 30 inside true || fail "the container does not come up"
expect_up

step "umld.socket starts umld at the first call"
inside systemctl enable --quiet umld.socket uml-fleet.target
inside systemctl start umld.socket uml-fleet.target
is_inactive umld.service || fail "umld runs before anybody called: $(property umld.service ActiveState)"
[[ $(inside stat -c '%a %U' /run/umld/umld.sock) == "600 root" ]] || fail "the socket is not root's alone"
ctl list >/dev/null || fail "umlctl list failed"
is_active umld.service || fail "umld.service is $(property umld.service ActiveState) after a call"
[[ $(property umld.service StatusText) == *guests* ]] || fail "no status with READY: $(property umld.service StatusText)"

step "an image, two guests, one of them as a unit"
ctl image build tiny
ctl create web1 --image tiny --mem 64M
ctl create web2 --image tiny --mem 64M
inside systemctl enable --quiet --now uml@web1.service
is_active uml@web1.service || fail "uml@web1 is $(property uml@web1.service ActiveState)"
has_state web1 RUNNING || fail "the unit is up and web1 is $(state web1)"
ctl start web2
web1=$(kernel_pid web1)
web2=$(kernel_pid web2)

step "systemctl restart umld"
pid=$(property umld.service MainPID)
follower=$(property uml@web1.service MainPID)
inside systemctl restart umld.service
expect_new_umld "$pid" "restart"
expect_same_kernel web1 "$web1" "restart"
expect_same_kernel web2 "$web2" "restart"

step "kill -9 umld"
pid=$(property umld.service MainPID)
inside kill -9 "$pid"
within 10 umld_is_new "$pid" || fail "umld did not come back after kill -9"
expect_same_kernel web1 "$web1" "kill -9"
expect_same_kernel web2 "$web2" "kill -9"

step "umld hangs: the watchdog restarts it"
inside mkdir -p /run/systemd/system/umld.service.d
# Shorter than shipped, so that the test need not wait; the mechanism is the same.
inside sh -c 'printf "[Service]\nWatchdogSec=3\n" >/run/systemd/system/umld.service.d/watchdog.conf'
inside systemctl daemon-reload
inside systemctl restart umld.service
pid=$(property umld.service MainPID)
sleep 7
[[ $(property umld.service MainPID) == "$pid" ]] || fail "a healthy umld was restarted by the watchdog"
inside kill -STOP "$pid"
within 20 umld_is_new "$pid" || fail "umld hangs, and the watchdog did not restart it"
journal_says umld.service "Watchdog timeout" || fail "the journal has no word of the watchdog"
expect_same_kernel web1 "$web1" "watchdog"
expect_same_kernel web2 "$web2" "watchdog"

step "stop and start of umld"
inside systemctl stop umld.socket  # which takes umld along
is_inactive umld.service || fail "stop of umld.socket left umld $(property umld.service ActiveState)"
inside test -d "/proc/$web1" || fail "stop of umld took web1 down"
inside test -S "/run/umld/guests/1/vmcore.sock" || fail "stop of umld took the sockets of running guests away"
is_active uml@web1.service || fail "stop of umld stopped uml@web1"
inside systemctl start umld.socket
expect_same_kernel web1 "$web1" "stop and start"
[[ $(property uml@web1.service MainPID) == "$follower" ]] || fail "uml@web1 was restarted along the way"

step "systemctl stop uml@web1 is orderly"
inside systemctl stop uml@web1.service
is_inactive uml@web1.service || fail "uml@web1 is $(property uml@web1.service ActiveState) after stop"
has_state web1 STOPPED || fail "web1 is $(state web1) after stop of its unit"
[[ $(described web1 "Last exit") == STOPPED*orderly* ]] || fail "not orderly: $(described web1 "Last exit")"
expect_same_kernel web2 "$web2" "stop of web1"

step "a guest that powers itself off"
# Prompts, not lines: a prompt has no newline behind it.
count_logins() { ctl logs web1 con1 | grep -o "web1 login:" | wc -l; }
logins=$(count_logins)
inside systemctl start uml@web1.service
asks_for_login() { [[ $(count_logins) -gt $logins ]]; }
within 30 asks_for_login || fail "web1 has no login"
# Typed as a person would, with a look at the prompt in between: login throws away what was typed ahead.
{
  printf 'root\n'
  sleep 2
  printf 'poweroff\n'
} | ctl console web1 --linger 3s >/dev/null || true
within 60 is_inactive uml@web1.service || fail "the guest is off, and uml@web1 is $(property uml@web1.service ActiveState)"
[[ $(property uml@web1.service Result) == success ]] || fail "poweroff from inside: $(property uml@web1.service Result)"

step "a guest that crashes"
inside systemctl start uml@web1.service
ctl mconsole --force web1 sysrq c >/dev/null 2>&1 || true
within 30 is_failed uml@web1.service || fail "the guest crashed, and uml@web1 is $(property uml@web1.service ActiveState)"
has_state web1 CRASHED || fail "web1 is $(state web1) after a panic"
journal_says uml@web1.service "web1 crashed: .*[Pp]anic" || fail "the journal has no reason for the crash"
inside systemctl reset-failed uml@web1.service

step "a guest that does not exist"
if inside systemctl start uml@nobody.service 2>/dev/null; then fail "uml@nobody started"; fi
journal_says uml@nobody.service "nobody" || fail "the journal does not say what is wrong with uml@nobody"
inside systemctl reset-failed uml@nobody.service

step "uml-fleet.target stops and starts its guests"
inside systemctl start uml@web1.service
# systemctl waits for the target, not for its parts.
inside systemctl stop uml-fleet.target
within 90 is_inactive uml@web1.service || fail "uml-fleet.target stopped, uml@web1 is $(property uml@web1.service ActiveState)"
has_state web2 RUNNING || fail "stop of the fleet touched web2, which is not in it"
inside systemctl start uml-fleet.target
is_active uml@web1.service || fail "uml-fleet.target started, uml@web1 is $(property uml@web1.service ActiveState)"

step "reboot of the host: guests end in order and come back"
inside systemctl enable --quiet umld.service
go_down reboot.target
ended=0
has_ended 120 || ended=$?
# As nspawn says that the container wants to come back.
[[ $ended -eq 133 ]] || fail "reboot: systemd-nspawn ended with $ended"
boot
within 30 inside true || fail "the container does not come back"
expect_up
is_active uml-fleet.target || fail "uml-fleet.target is $(property uml-fleet.target ActiveState) after boot"
is_active uml@web1.service || fail "uml@web1 is $(property uml@web1.service ActiveState) after boot"
has_state web1 RUNNING || fail "web1 is $(state web1) after boot"
within 30 has_state web2 RUNNING || fail "web2 ran when the host went down, and is $(state web2)"
for guest in web1 web2; do
  # What a busybox init says of an orderly end: twice by now for web2, which was never stopped but by the reboot.
  ctl logs "$guest" con0 | grep -E "reboot: (Restarting system|System halted|Power down)" >/dev/null || fail "$guest had a power cut"
done

step "poweroff"
go_down poweroff.target
has_ended 120 || fail "poweroff: systemd-nspawn ended with $?"
