"""Figures as text: docs/performance.md."""

import math
import os
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Verdict:
    """One figure beside its budget, which is a most unless `least`."""

    what: str
    budget: float
    measured: float
    unit: str
    note: str = ""
    least: bool = False
    why: str = ""  # shown when it is missed

    @property
    def kept(self):
        return self.measured >= self.budget if self.least else self.measured <= self.budget

    @property
    def remarks(self):
        return "; ".join(text for text in (self.note, "" if self.kept else self.why) if text)

    @property
    def used(self):
        """How much of the budget is used up: more than 1 is too much, whichever way it goes."""
        return self.budget / max(self.measured, 1e-9) if self.least else max(self.measured, 0) / max(self.budget, 1e-9)


def p50(values):
    return statistics.median(values)


def percentile(values, which):
    """The least value that `which` per cent of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * which / 100) - 1)]


def spread(values, digits=0, scale=1):
    median, low, high = (x * scale for x in (p50(values), min(values), max(values)))
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def ms(values):
    return spread(values, 1, 1000)


def table(heads, rows):
    return ["| " + " | ".join(map(str, row)) + " |" for row in [heads, ["---"] * len(heads), *rows]]


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(kernel):
    """What it was measured on, and how busy it was: before anything is run."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    with open("/proc/meminfo") as meminfo:
        memory = int(meminfo.readline().split()[1]) / 2**20
    virtual = ", a virtual machine" if "hypervisor" in cpuinfo else ""
    host_kernel = ".".join(os.uname().release.split(".")[:2])
    uml = subprocess.run([kernel, "--version"], capture_output=True, text=True).stdout.strip()
    name = "Debian's linux.uml" if kernel == "/usr/bin/linux.uml" else "a kernel given with --kernel"
    load = os.getloadavg()[0]
    busy = "" if load < 1 else " **The machine was busy with something else: read the figures as too high.**"
    return (f"{os.cpu_count()} processors ({models[0] if models else 'unknown'}{virtual}), {memory:.0f} GiB, "
            f"Linux {host_kernel}. Guests: {name}, {uml}; a busybox on ext4. Load average when the run began: "
            f"{load:.1f}.{busy}")


def report(where, sections, verdicts, seconds):
    missed = [verdict for verdict in verdicts if not verdict.kept]
    text = ["# Performance", "",
            "Written by `bench/run`; do not edit. Medians, with the least and the most in brackets. Each figure and its peer "
            "were taken in turn, in one run, so that what else the machine did met both.", "",
            f"Machine: {where} The run took {seconds / 60:.0f} minutes.", "",
            "![Budgets and starts](performance.svg)", "",
            f"## Budgets: {len(verdicts) - len(missed)} kept, {len(missed)} missed", "",
            *table(["what", "budget", "measured", "", "kept"],
                   [[v.what, f"at {'least' if v.least else 'most'} {number(v.budget)} {v.unit}".rstrip(),
                     f"{number(v.measured)} {v.unit}".rstrip(), v.remarks, "yes" if v.kept else "**missed**"]
                    for v in verdicts])]
    for section in sections:
        text += ["", *section]
    return "\n".join(text) + "\n"
