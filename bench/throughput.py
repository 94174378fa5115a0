"""What confinement costs a guest's disks and its network: the same guest, strict and relaxed, in turn."""

import ctypes
import os
import re
import socket
import subprocess
import time
from pathlib import Path

from bed import fail
from image import make_image
from report import Verdict, p50, spread, table

HOST, GUEST = "192.0.2.1", "192.0.2.2"
DISK_MIB, NET_MIB, FETCHES = 256, 32, 20
READY = "throughput-ready"
BUFFER = bytearray(256 * 1024)
INIT = f"""#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox ifconfig vec0 {GUEST} netmask 255.255.255.0 up
# In nanoseconds; /proc/uptime's hundredths of a second are a few percent of what is measured.
mark() {{ busybox echo "$1 $(busybox grep -m 1 '^now at' /proc/timer_list)"; }}
round() {{
  mark begin-write
  busybox dd if=/dev/zero of=/dev/ubdb bs=1M count={DISK_MIB} conv=fsync 2>/dev/null
  mark end-write
  busybox sync
  busybox echo 3 >/proc/sys/vm/drop_caches
  mark begin-read
  busybox dd if=/dev/ubdb of=/dev/null bs=1M count={DISK_MIB} 2>/dev/null
  mark end-read
}}
for number in 1 2 3 4 5; do round; done
busybox mount -t tmpfs none /mnt
busybox dd if=/dev/zero of=/mnt/file bs=1M count={NET_MIB} 2>/dev/null
until busybox ping -c 1 -W 1 {HOST} >/dev/null 2>&1; do :; done
busybox httpd -p 80 -h /mnt
busybox echo {READY}
while :; do busybox sleep 1000; done
"""


def own_network():
    """Into a network namespace of our own: nothing of this is seen outside. False: not as this user."""
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newnet) != 0:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return True


def fetch():
    """Seconds that the guest took to send a file from its memory. By sendfile: a program that hands its kernel a few KiB at a
    time measures system calls. Into one buffer: one that is new for each piece measures page faults."""
    begin, size = time.monotonic(), 0
    with socket.create_connection((GUEST, 80), timeout=60) as connection:
        connection.sendall(b"GET /file HTTP/1.0\r\n\r\n")
        while got := connection.recv_into(BUFFER):
            size += got
    if size < NET_MIB << 20:
        fail(f"the guest sent {size:,} bytes of {NET_MIB} MiB")
    return time.monotonic() - begin


def sender_and_receiver_apart(kernel_pid):
    """All of the guest on one processor and this on another, if there are two: else it is where the scheduler happens to
    put them that is measured, which makes a difference of a third."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        return
    os.sched_setaffinity(0, processors[1:])
    pids = [kernel_pid]
    for pid in pids:
        try:
            os.sched_setaffinity(pid, processors[:1])
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except OSError:
            pass  # one of its processes has just ended


def bench_throughput(bed, reps):
    """MiB per second of "write", "read" and "send", per confinement. The best of five rounds of each guest: the first also
    makes the disk's file, and fills caches. The median of what is sent."""
    image = make_image(bed, "throughput", INIT)
    disk = bed.folder / "throughput.disk"
    rates = {confinement: {"write": [], "read": [], "send": []} for confinement in ("strict", "relaxed")}
    for rep in range(reps):
        # Neither always first.
        order = list(rates) if rep % 2 == 0 else list(rates)[::-1]
        for confinement in order:
            with open(disk, "wb") as file:
                file.truncate(DISK_MIB << 20)
            bed.ctl("create", "fast", "--disk", f"ubdar={image}", "--disk", f"ubdb={disk}", "--mem", "128M",
                    "--nic", "vec0:transport=tap,ifname=benchtap", "--arg", "root=/dev/ubda", "--arg", "ro",
                    "--confinement", confinement, *(["--trust", "trusted"] if confinement == "relaxed" else []))
            bed.ctl("start", "fast")
            subprocess.run(["ip", "address", "add", f"{HOST}/24", "dev", "benchtap"], check=True)
            subprocess.run(["ip", "link", "set", "benchtap", "up"], check=True)
            log = bed.folder / "state/guests" / str(bed.guest("fast")["id"]) / "con0.log"
            deadline = time.monotonic() + 300
            while READY.encode() not in log.read_bytes():
                if time.monotonic() > deadline:
                    fail(f"the guest that measures throughput is not through: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            text = log.read_text(errors="replace")
            for what in ("write", "read"):
                begins, ends = ([int(found) / 1e9 for found in re.findall(rf"{side}-{what} now at ([0-9]+) nsecs", text)]
                                for side in ("begin", "end"))
                seconds = [end - begin for begin, end in zip(begins, ends)]
                rates[confinement][what].append(DISK_MIB / min(seconds))
            processors = os.sched_getaffinity(0)
            sender_and_receiver_apart(bed.guest("fast")["processes"]["kernel_pid"])
            rates[confinement]["send"].append(NET_MIB / p50([fetch() for _ in range(FETCHES)]))
            os.sched_setaffinity(0, processors)
            bed.ctl("delete", "--force", "fast")
        print(f"  throughput {rep + 1}/{reps}: " + ", ".join(
            f"{what} {rates['strict'][what][-1]:.0f} strict, {rates['relaxed'][what][-1]:.0f} relaxed"
            for what in ("write", "read", "send")), flush=True)
    return rates


WHAT = {"write": "writing to a disk, with an fsync at the end", "read": "reading it back from the host's cache",
        "send": "sending over vec0 on a tap"}


def report_throughput(rates):
    text = [f"## Throughput of one guest, strict beside relaxed, {len(rates['strict']['write'])} times, MiB/s", "",
            *table(["", "strict", "relaxed"], [[words, spread(rates["strict"][what]), spread(rates["relaxed"][what])]
                                               for what, words in WHAT.items()])]
    verdicts = [Verdict(f"{what}, strict beside relaxed", 0.98, p50(rates["strict"][what]) / p50(rates["relaxed"][what]), "",
                        least=True) for what in WHAT]
    return text, verdicts
