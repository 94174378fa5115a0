"""Many guests at once: their start with readers beside it, plugs over them, their memory, their answers."""

import json
import statistics
import subprocess
import time
from pathlib import Path

from bed import MARKER, say
from report import Verdict, ms, p50, percentile, spread, table

STARTS = 100
PLUG_CLIENTS = 16
PLUG_UNITS = "bcdef"


def rollup(pid, *fields):
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as rollup_file:
        for line in rollup_file:
            if line.split(":")[0] in fields:
                total += int(line.split()[1])
    return total


def private(pid):
    return rollup(pid, "Private_Clean", "Private_Dirty")


def switches(pid):
    with open(f"/proc/{pid}/status") as status:
        return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)


def host_memory():
    """KiB that are not to be had any more."""
    with open("/proc/meminfo") as meminfo:
        fields = {line.split(":")[0]: int(line.split()[1]) for line in meminfo}
    return fields["MemTotal"] - fields["MemAvailable"]


def memory_of(bed, names, settle):
    """KiB, and how often the vmcores ran while nothing happened."""
    # Past the boots, and past what umld does once after them.
    time.sleep(settle)
    guests = {guest["name"].split("/")[1]: guest for guest in json.loads(bed.ctl("list", "-o", "json"))}
    processes = [guests[name]["processes"] for name in names]
    vmcores = [p["supervisor_pid"] for p in processes]
    inits = [p["init_pid"] for p in processes]
    kernels = [p["kernel_pid"] for p in processes]
    before = [sum(map(switches, pids)) for pids in (vmcores + inits, kernels)]
    time.sleep(10)
    after = [sum(map(switches, pids)) for pids in (vmcores + inits, kernels)]
    return {
        "vmcore": statistics.median(map(private, vmcores)),
        "init": statistics.median(map(private, inits)),
        # vmcore's init is its fork, so pages that only the two share are private to neither; Pss counts them once.
        "both": statistics.median(rollup(a, "Pss") + rollup(b, "Pss") for a, b in zip(vmcores, inits)),
        "umld": private(bed.umld.pid),
        "woken": after[0] - before[0],
        "kernels": after[1] - before[1],
    }


def await_inits(bed, names, timeout=60):
    """Until each has printed the marker: RUNNING means that the kernel's mconsole answers. Those whose init never came."""
    ids = {guest["name"].split("/")[1]: guest["id"] for guest in json.loads(bed.ctl("list", "-o", "json"))}
    waiting = {name: bed.folder / f"state/guests/{ids[name]}/con0.log" for name in names}
    deadline = time.monotonic() + timeout
    while waiting and time.monotonic() < deadline:
        time.sleep(0.01)
        waiting = {name: log for name, log in waiting.items() if MARKER not in log.read_bytes()}
    for name in waiting:
        say(f"  guest {name} has not come up in {timeout} s: {kernel_of(bed, name)}")
    return set(waiting)


def kernel_of(bed, name):
    """What a guest's kernel is about, for one that should be about something else."""
    guest = bed.guest(name)
    last = (bed.folder / f"state/guests/{guest['id']}/con0.log").read_bytes().decode(errors="replace").splitlines()[-1:]
    pid = guest["processes"]["kernel_pid"]
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return f"its kernel ({fields[0]}, in {Path(f'/proc/{pid}/wchan').read_text()}, {fields[11]} ticks) says last: {last}"


def bench_density(bed, image, count, memory):
    bed.ctl("image", "import", "fleet", image)
    names = [f"idle{i}" for i in range(count)]
    bed.load("create", "idle", count, PLUG_CLIENTS, memory, "images/fleet")
    figures = {"count": count, "memory": {}}
    # One alone, and its end.
    bed.ctl("start", names[0])
    figures["memory"][1] = memory_of(bed, names[:1], 5)
    bed.ctl("kill", names[0])
    time.sleep(2)

    used = host_memory()
    first = names[:STARTS]
    reader = subprocess.Popen([bed.api_load, bed.socket, "read", names[-1]], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    begin = time.monotonic()
    bed.ctl("start", *first)
    figures["first"] = time.monotonic() - begin
    silent = await_inits(bed, first)
    figures["inits"] = time.monotonic() - begin
    figures["reads"] = json.loads(reader.communicate()[0])["seconds"]
    say(f"  {len(first)} guests are up after {figures['first']:.1f} s, their inits after {figures['inits']:.1f}; a read beside them took "
        f"{percentile(figures['reads'], 99) * 1000:.1f} ms (p99)")

    specs = []
    for unit in PLUG_UNITS:
        disk = bed.folder / f"plug-{unit}.disk"
        with open(disk, "wb") as file:
            file.truncate(1 << 20)
        specs.append(f"ubd{unit}r={disk}")
    figures["plugs"] = [bed.load("plug", PLUG_CLIENTS, ";".join(specs), *[name for name in first if name not in silent])
                        for _ in range(3)]
    say("  plugs per second: " + spread([one["count"] / one["plug"] for one in figures["plugs"]]))

    if count > len(first):
        begin = time.monotonic()
        for at in range(len(first), count, 100):
            bed.ctl("start", *names[at:at + 100])
            say(f"  {min(at + 100, count)} guests are up")
        silent |= await_inits(bed, names[len(first):])
        figures["rest"] = time.monotonic() - begin
    figures["memory"][count] = memory_of(bed, names, 10)
    figures["all in"] = (host_memory() - used) / count
    figures["silent"] = len(silent)
    figures["answers"] = bed.load("answer", *[name for name in names if name not in silent])
    say(f"  memory with {count}: {figures['memory'][count]}, all in {figures['all in'] / 1024:.1f} MiB per guest")
    bed.ctl("delete", "--force", *names)
    bed.ctl("image", "delete", "fleet")
    return figures


def report_density(figures, memory):
    count, few, many = figures["count"], figures["memory"][1], figures["memory"][figures["count"]]
    kib = lambda value: f"{value:,.0f}"
    rates = {word: [one["count"] / one[word] for one in figures["plugs"]] for word in ("plug", "unplug")}
    first = min(count, STARTS)
    text = [f"## {count:,} guests with {memory} at once", "",
            *table(["", "measured"], [
                [f"{first} guests up, one `umlctl start`, s", f"{figures['first']:.1f}"],
                ["their inits run, s", f"{figures['inits']:.1f}"],
                *([[f"the other {count - first:,} up, their inits too, s", f"{figures['rest']:.1f}"]] if "rest" in figures else []),
                ["of all of them, inits that never came", figures["silent"]],
                [f"a read while the {first} start, ms, {len(figures['reads']):,} times", ms(figures["reads"])],
                ["its p99, ms", f"{percentile(figures['reads'], 99) * 1000:.1f}"],
                [f"plugs per second over {first} guests, {PLUG_CLIENTS} clients, durable", spread(rates["plug"])],
                ["unplugs per second over the same", spread(rates["unplug"])],
                [f"mconsole `version` of each of {count:,} in turn, ms", ms(figures["answers"]["mconsole"])],
                [f"console of each of {count:,} opened, a line typed, its echo seen, ms", ms(figures["answers"]["console"])],
                ["host memory per idle guest, all in (what MemAvailable lost), MiB", f"{figures['all in'] / 1024:.1f}"],
            ]), "",
            "Memory in KiB (Private_Clean + Private_Dirty; per guest, the median):", "",
            *table(["", "1 guest", f"{count:,} guests"], [
                ["vmcore", kib(few["vmcore"]), kib(many["vmcore"])],
                ["its child, init of the guest's PID namespace", kib(few["init"]), kib(many["init"])],
                ["both together, shared pages in proportion (Pss)", kib(few["both"]), kib(many["both"])],
                ["umld", kib(few["umld"]), kib(many["umld"])],
                ["times that all vmcores ran in 10 s of idleness", few["woken"], many["woken"]],
                ["times that all guests' kernels did", few["kernels"], many["kernels"]],
            ])]
    verdicts = [
        Verdict(f"reads while {first} guests start, p99", 10, percentile(figures["reads"], 99) * 1000, "ms",
                f"median {p50(figures['reads']) * 1000:.1f} ms", why="it waits for a processor among the kernels that boot"),
        Verdict(f"plugs over {first} guests", 500, p50(rates["plug"]), "per second", f"{count:,} guests defined",
                least=True, why="each plug commits twice, and asks of every other guest's disks whether they are "
                "this one (Guests::CheckDisk)"),
        Verdict("idle guests up, each answering mconsole and console", count, len(figures["answers"]["console"]), "", least=True),
        Verdict("host memory per idle guest, all in", 14, figures["all in"] / 1024, "MiB", f"{count:,} guests with {memory}"),
        Verdict("vmcore, the only one", 1536, few["vmcore"], "KiB", "every page of its program is private to it"),
        Verdict(f"vmcore, one of {count:,}, its init and its share of common pages counted in", 1536, many["both"], "KiB"),
        Verdict("vmcores waking in 10 s of idleness", 0, many["woken"], "times", f"{count:,} guests"),
    ]
    for guests, shown in ((1, few), (count, many)):
        verdicts.append(Verdict(f"umld with {guests:,} guest{'s' if guests > 1 else ''}", 40 * 1024 + 16 * guests,
                                shown["umld"], "KiB"))
    return text, verdicts
