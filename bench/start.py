"""Starts: cold and from the warm pool, beside the same kernel and image by hand, and beside containers, in turn."""

import datetime
import json
import shutil
import subprocess
import time

from bed import MARKER, await_, fail, say
from by_hand import GuestByHand
from report import Verdict, ms, p50, percentile, table

MEMORY = "64M"


class MarkerIn:
    """Whether the marker has come into a log since this was made. The log of a warm start is another file."""

    def __init__(self, path):
        self.path = path
        self.before = path.stat() if path.exists() else None

    def __call__(self):
        try:
            with open(self.path, "rb") as log:
                if self.before is not None and self.path.stat().st_ino == self.before.st_ino:
                    log.seek(self.before.st_size)
                return MARKER in log.read()
        except FileNotFoundError:
            return False


def managed_start(bed, name, log):
    """Seconds of `umlctl start` until the marker is in the console's log, and until it returns."""
    printed = MarkerIn(log)
    start = time.monotonic()
    process = subprocess.Popen([bed.umlctl, "start", name], env=bed.env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    marker = done = None
    while marker is None or done is None:
        if done is None and process.poll() is not None:
            done = time.monotonic() - start
        if marker is None and printed():
            marker = time.monotonic() - start
        if time.monotonic() - start > 120:
            fail(f"guest {name} prints no marker; see umlctl logs")
        time.sleep(0.001)
    if process.returncode != 0:
        fail(f"umlctl start {name}: exit code {process.returncode}")
    return marker, done


def timestamp(text):
    """RFC 3339 in UTC; Python reads no more than microseconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc).timestamp()
    return seconds + float(f"0.{fraction or 0}")


def warm_ready(bed):
    return any(pool.get("ready", 0) > 0 for pool in json.loads(bed.ctl("pool", "list", "-o", "json")))


def one_round(bed, round_, hand_image, logs, peers):
    guest = GuestByHand(bed, hand_image, MEMORY)
    guest.end()
    round_["hand"] = guest.seconds
    began = time.time()
    round_["cold"], round_["returned"] = managed_start(bed, "cold", logs["cold"])
    round_["kernel"] = timestamp(bed.guest("cold")["start_time"]) - began
    bed.ctl("kill", "cold")
    round_["relaxed"], _ = managed_start(bed, "relaxed", logs["relaxed"])
    bed.ctl("kill", "relaxed")
    for container in peers.containers:
        round_[container] = peers.run(container)


def bench_start(bed, image, reps, warm_reps, peers):
    """Seconds until the first line of init, by way: {"hand": [...], "cold": [...], ...}."""
    times = {way: [] for way in ("hand", "cold", "relaxed", "returned", "kernel", "warm", *peers.containers)}
    logs = {}
    hand_image = bed.folder / "hand.img"
    shutil.copy(image, hand_image)
    for name, more in (("cold", ()), ("relaxed", ("--confinement", "relaxed", "--trust", "trusted")), ("warm", ())):
        disk = bed.folder / f"{name}.img"
        shutil.copy(image, disk)
        bed.ctl("create", name, "--disk", f"ubda={disk}", "--mem", MEMORY, *more)
        logs[name] = bed.log_of(name)
    every = max(1, warm_reps // reps)
    # The first round warms the host's caches.
    for rep in range(warm_reps + 1):
        round_ = {}
        bed.ctl("pool", "set", "--mem", MEMORY, "--warm", "1")
        await_("a kernel that waits", lambda: warm_ready(bed), 120)
        round_["warm"], _ = managed_start(bed, "warm", logs["warm"])
        if bed.guest("warm").get("start_kind") != "WARM":
            fail("a guest was started cold although a kernel waited")
        bed.ctl("kill", "warm")
        # The others are fewer, and no kernel boots for the pool beside them.
        if rep % every == 0:
            bed.ctl("pool", "set", "--mem", MEMORY, "--warm", "0")
            one_round(bed, round_, hand_image, logs, peers)
            say(f"  start {rep}/{warm_reps}, ms: " + ", ".join(f"{way} {round_[way] * 1000:.0f}" for way in round_))
        for way, seconds in round_.items() if rep > 0 else ():
            times[way].append(seconds)
    bed.ctl("pool", "set", "--mem", MEMORY, "--warm", "0")
    bed.ctl("delete", "cold", "relaxed", "warm")
    return times


WAYS = {
    "hand": "kernel and image by hand",
    "cold": "`umlctl start`, cold",
    "relaxed": "`umlctl start`, cold, `--confinement relaxed`",
    "warm": "`umlctl start`, from the warm pool",
    "crun": "`crun run` of the same busybox",
    "nspawn": "`systemd-nspawn` of the same busybox",
    "lxc": "`virsh start` of libvirt's lxc driver, the same busybox",
}


def report_start(times, peers):
    rows = [[WAYS[way], len(times[way]), ms(times[way]), f"{percentile(times[way], 99) * 1000:.1f}",
             f"{p50(times[way]) / p50(times['hand']):.3f}"] for way in WAYS if times.get(way)]
    rows.append(["`umlctl start`, cold, until it returns (RUNNING)", len(times["returned"]), ms(times["returned"]),
                 f"{percentile(times['returned'], 99) * 1000:.1f}", ""])
    rows.append(["`umlctl start`, cold, until the kernel's process is there", len(times["kernel"]), ms(times["kernel"]),
                 f"{percentile(times['kernel'], 99) * 1000:.1f}", ""])
    text = ["## Starts", "",
            "From before the program is executed until the first line of the guest's init is there. A container has no kernel "
            "to boot: it is the bound, not a peer.", "",
            *table(["", "times", "ms", "p99, ms", "beside by hand"], rows)]
    for name, reason in peers.missing.items():
        text += ["", f"Not measured: {name}: {reason}"]
    hand, cold, relaxed, warm = (p50(times[way]) * 1000 for way in ("hand", "cold", "relaxed", "warm"))
    own = p50(times["kernel"]) * 1000
    warm99 = percentile(times["warm"], 99) * 1000
    verdicts = [
        Verdict("cold start, command to init, over by hand", 20, cold - hand, "ms",
                f"{cold:.1f} beside {hand:.1f} ms; {own:.1f} ms of it before the kernel is there"),
        Verdict("what the jail adds to a cold start", 10, cold - relaxed, "ms", f"ratio {cold / relaxed:.3f}"),
        Verdict("warm start, command to init, p50", 40, warm, "ms", f"ratio {warm / hand:.3f} beside by hand"),
        Verdict("warm start, command to init, p99", 80, warm99, "ms", f"{len(times['warm'])} starts"),
    ]
    bars = [(WAYS[way].replace("`", ""), [x * 1000 for x in times[way]]) for way in WAYS if times.get(way)]
    return text, verdicts, bars
