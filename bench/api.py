"""The API under load: bench/api_load, with thousands of guests that are defined; whole commands; a console's throughput."""

import json
import math
import os
import subprocess
import time

from bed import await_, check, seconds_of, say
from by_hand import GuestByHand
from image import make_image
from report import Verdict, ms, p50, spread, table
from start import MEMORY

CLIENTS = 32
BATCH = 150
CONSOLE_KIB, CONSOLE_SECONDS = 256, 6
CONSOLE_INIT = f"""#!/bin/busybox sh
export PATH=/bin
busybox yes 'a line of text as programs print them, eighty columns of it, then another one' | busybox head -c {CONSOLE_KIB << 10} >/dev/text
while :; do
  echo begin-text
  busybox cat /dev/text
  echo end-text
  busybox sleep 0.1
done
"""


def synced_writes(folder, count):
    """Durable writes of one page per second, in a file that is there: the disk's own limit for changes one after the other."""
    path = folder / "synced"
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(4096 * count))
        os.fsync(file.fileno())
        file.seek(0)
        begin = time.monotonic()
        for _ in range(count):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
        rate = count / (time.monotonic() - begin)
    path.unlink()
    return rate


def bench_api(bed, defined, watchers, reps, peers):
    """On an umld of its own, which has no guest when it begins."""
    figures = {"synced": [], "one": [], "many": [], "list": {}}
    virsh = lambda: seconds_of(["virsh", "-c", "test:///default", "list"])
    umlctl = lambda: seconds_of([bed.umlctl, "list"], env=bed.env)
    made = 0

    def whole_lists():
        ours, tests, daemons = [], [], []
        for rep in range(reps + 1):
            round_ = (umlctl(), virsh(), peers.run("virsh_list") if "lxc" in peers.containers else None)
            if rep > 0:
                for times, seconds in zip((ours, tests, daemons), round_):
                    times.append(seconds)
        figures["list"][made] = (ours, tests, daemons)

    bed.ctl("create", "first", "--mem", MEMORY)
    made = 1
    whole_lists()
    for rep in range(5):
        figures["synced"].append(synced_writes(bed.folder, BATCH))
        result = bed.load("create", f"one{rep}-", BATCH // 4, 1, MEMORY)
        figures["one"].append(result["count"] / result["seconds"])
        result = bed.load("create", f"many{rep}-", BATCH, CLIENTS, MEMORY)
        figures["many"].append(result["count"] / result["seconds"])
        made += BATCH // 4 + BATCH
        say(f"  per second {rep + 1}/5: {figures['synced'][-1]:.0f} synced writes; creates: {figures['one'][-1]:.0f} by one "
            f"client, {figures['many'][-1]:.0f} by {CLIENTS}")
    for target in (1000, defined):
        if made < target:
            bed.load("create", f"fill{target}-", target - made, CLIENTS, MEMORY)
            made = target
            whole_lists()
            say(f"  {made} guests are defined")
    pages = bed.load("list", 100, 5)
    figures["pages"], figures["guests"] = pages["pages"], pages["guests"]
    figures["wholes"] = bed.load("list", 1000, reps)["wholes"]
    figures["watch"] = bed.load("watch", watchers, "first")
    say(f"  {watchers} watchers: the last saw the event after {max(figures['watch']['seen']) * 1000:.0f} ms")
    return figures


def bench_console(bed, rounds):
    """Bytes per second that one guest's console prints: to a terminal by hand, and to a viewer of umld's, in turn. Beside them,
    what was lost on the way to the viewer, and how often the guest by hand fell silent."""
    image = make_image(bed, "console", CONSOLE_INIT)
    rates = {"hand": [], "umld": []}
    lost = silent = 0
    for _ in range(rounds):
        guest = GuestByHand(bed, image, MEMORY, marker=b"begin-text")
        result = json.loads(subprocess.run([bed.api_load, "none", "terminal", str(CONSOLE_SECONDS)], stdin=guest.master,
                                           stdout=subprocess.PIPE, check=True).stdout)
        guest.end()
        rates["hand"] += result["rates"]
        silent += result["silent"]
        bed.ctl("create", "talker", "--disk", f"ubda={image}", "--mem", MEMORY)
        bed.ctl("start", "talker")
        log = bed.log_of("talker")
        await_("the guest to talk", lambda: log.exists() and b"begin-text" in log.read_bytes())
        result = bed.load("console", "guests/talker/consoles/con0", CONSOLE_SECONDS)
        rates["umld"] += result["rates"]
        lost += result["lost"]
        bed.ctl("delete", "--force", "talker")
        say("  console, MiB/s: " + ", ".join(f"{way} {spread(values, 2, 2**-20)}" for way, values in rates.items() if values))
    return rates, lost, silent


def report_api(figures, console, defined, watchers):
    rates, lost, silent = console
    seen = figures["watch"]["seen"]
    text = ["## The API under load", "",
            *table(["", "measured"], [
                ["durable writes of one page, one after the other, per second", spread(figures["synced"])],
                ["guests created per second by one client", spread(figures["one"])],
                [f"guests created per second by {CLIENTS} clients", spread(figures["many"])],
                [f"list of {figures['guests']:,} guests, in pages of 1,000, ms", ms(figures["wholes"])],
                ["a page of 100 of them, ms", ms(figures["pages"])],
                [f"{watchers:,} watchers: all begun after, ms", f"{figures['watch']['begun'] * 1000:.0f}"],
                [f"{watchers:,} watchers: an event seen after the call that made it, ms", ms(seen)],
                [f"a console's output, MiB/s, by hand to a terminal; it fell silent {silent} times until something was typed",
                 spread(rates["hand"], 2, 2**-20) if rates["hand"] else "never whole"],
                [f"a console's output, MiB/s, through umld, {lost:,} bytes lost", spread(rates["umld"], 2, 2**-20)],
            ]), "", "Whole commands, ms:", ""]
    rows = [[f"{count:,}", ms(ours), ms(tests), ms(daemons) if daemons and daemons[0] else "could not run"]
            for count, (ours, tests, daemons) in figures["list"].items()]
    text += table(["guests", "`umlctl list`", "`virsh list` of libvirt's test driver (no daemon, 1 domain)",
                   "`virsh list` of libvirtd with lxc, 1 domain"], rows)
    verdicts = [
        Verdict(f"list of {figures['guests']:,} guests", 30, p50(figures["wholes"]) * 1000, "ms",
                why="umld prints every guest anew for every list, two consoles each"),
        Verdict("a page of 100 guests", 2, p50(figures["pages"]) * 1000, "ms"),
        Verdict("durable creates", 1000, p50(figures["many"]), "per second",
                f"{p50(figures['synced']):,.0f} durable writes per second is what the disk does one after the other", least=True,
                why="each is a commit of its own, one at a time (GuestTable::Insert)"),
        Verdict("watchers at once", 1000, len(seen), "", f"the last saw the event after {max(seen) * 1000:.0f} ms", least=True),
        Verdict("console throughput beside by hand", 0.9,
                p50(rates["umld"]) / p50(rates["hand"]) if rates["hand"] else math.inf, "", least=True),
    ]
    for count, (ours, tests, daemons) in figures["list"].items():
        theirs, which = (daemons, "libvirtd's") if daemons and daemons[0] else (tests, "the test driver's")
        verdicts.append(Verdict(f"`umlctl list` of {count:,} beside `virsh list` of 1", 1, p50(ours) / p50(theirs), "",
                                f"{which}; beside the test driver's, without a daemon: {p50(ours) / p50(tests):.2f}",
                                why="all guests cross the socket" if count > 1 else
                                "most of it is the loading of its libraries (gRPC)"))
    return text, verdicts
