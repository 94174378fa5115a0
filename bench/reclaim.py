"""Host memory that idle guests give back, and how long they stand still for it."""

import json
import time

from bed import MARKER, await_, fail, say
from density import await_inits, memory_of
from image import make_image
from report import Verdict, ms, p50, spread, table

USED = 16  # MiB, once
MEMORY = 64  # MiB, of each


def bench_reclaim(bed, count):
    """`count` guests that have all used some memory once, before and after the policy has been at them."""
    image = make_image(bed, "user",
                       "#!/bin/busybox sh\n/bin/busybox mount -t tmpfs none /sys\n"
                       f"/bin/busybox dd if=/dev/zero of=/sys/x bs=1M count={USED}\n/bin/busybox rm /sys/x\n"
                       f"echo {MARKER.decode()}\nwhile :; do /bin/busybox sleep 1000; done\n")
    bed.ctl("image", "import", "user", image)
    names = [f"user{i}" for i in range(count)]
    bed.load("create", "user", count, 16, MEMORY, "images/user")
    for at in range(0, count, 100):
        bed.ctl("start", *names[at:at + 100])
    silent = await_inits(bed, names)
    names = [name for name in names if name not in silent]
    time.sleep(5)
    # Of the host, for each guest's own memory.
    taken = lambda: [int(one["host_memory_bytes"]) / (1 << 20) for one in json.loads(bed.ctl("stats", *names, "-o", "json"))]
    figures = {"count": len(names), "before": taken()}
    bed.end_umld()
    begin = time.monotonic()
    bed.start_umld(reclaim_after="1s")

    def reclaimed():
        listed = [guest for guest in json.loads(bed.ctl("list", "-o", "json")) if guest["name"].split("/")[1] in names]
        for guest in listed:
            if guest["state"] != "RUNNING":
                fail(f"{guest['name']} is {guest['state']}: {guest.get('last_exit', {}).get('reason', '')}")
        return [guest.get("reclaimed_memory", {}) for guest in listed]

    await_("the guests' memory", lambda: all(one.get("count", 0) > 0 for one in reclaimed()), timeout=300)
    figures["seconds"] = time.monotonic() - begin
    figures["stops"] = [float(one["longest_stop"].rstrip("s")) for one in reclaimed()]
    figures["woken"] = memory_of(bed, names, 5)["woken"]
    figures["after"] = taken()
    say(f"  host memory per guest, MiB: {spread(figures['before'], 1)} before, {spread(figures['after'], 1)} after; it stood "
        f"still for {ms(figures['stops'])} ms")
    bed.ctl("delete", "--force", "--all")
    return figures


def report_reclaim(figures):
    count = figures["count"]
    back = p50(figures["before"]) - p50(figures["after"])
    text = [f"## {count:,} idle guests with mem={MEMORY}M that have used {USED} MiB once", "",
            *table(["", "measured"], [
                ["host memory for a guest's memory, MiB", spread(figures["before"], 1)],
                ["after idle guests gave back what they had free, MiB", spread(figures["after"], 1)],
                ["all of them had, after s", f"{figures['seconds']:.1f}"],
                ["the longest that each stood still for it at a stretch, ms", ms(figures["stops"])],
                ["times that all vmcores ran in the 10 s after it", figures["woken"]],
            ])]
    return text, [
        Verdict(f"host memory that an idle guest gives back of the {USED} MiB it has used once", 0.8 * USED, back, "MiB",
                f"{count:,} guests", least=True),
        Verdict("standstill of a guest that gives memory back, the median of the guests' longest", 30,
                p50(figures["stops"]) * 1000, "ms", f"the worst of all {max(figures['stops']) * 1000:.1f} ms"),
        Verdict("vmcores waking in 10 s of idleness after they gave memory back", 0, figures["woken"], "times"),
    ]
