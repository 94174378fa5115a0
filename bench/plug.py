"""Plug and unplug of a disk: the kernel's raw datagram, the old tool, ours, the API."""

import socket
import struct
import time

from bed import check, fail, seconds_of
from by_hand import GuestByHand
from report import Verdict, ms, p50, spread, table
from start import MEMORY

PAIRS = 50


class Mconsole:
    """The kernel's own datagram protocol, with no program in between: the floor."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("")
        self.socket.settimeout(30)

    def __call__(self, command):
        data = command.encode()
        start = time.monotonic()
        self.socket.sendto(struct.pack("=III", 0xCAFEBABE, 2, len(data)) + data.ljust(512, b"\0"), self.path)
        error = None
        while True:
            reply = self.socket.recv(65536)
            this_error, more, length = struct.unpack("=iII", reply[:12])
            error = this_error if error is None else error
            if not more:
                break
        taken = time.monotonic() - start
        if error != 0:
            fail(f"mconsole {command}: {reply[12:12 + length]!r}")
        return taken


def bench_plug(bed, image, reps):
    """Seconds of plug and of unplug, per way."""
    times = {way: ([], []) for way in ("raw", "uml_mconsole", "umlctl", "umlctl --live-only", "gRPC")}
    hand = GuestByHand(bed, bed.folder / "hand.img", MEMORY)
    raw = Mconsole(hand.mconsole)
    bed.ctl("create", "plug", "--disk", f"ubda={image}", "--mem", MEMORY)
    bed.ctl("start", "plug")
    disks = {}
    for owner in ("hand", "plug"):
        disks[owner] = bed.folder / f"{owner}.disk"
        with open(disks[owner], "wb") as disk:
            disk.truncate(64 << 20)
    # uml_mconsole takes the socket's path for a umid when it is absolute; the kernel's own, not the bridge's.
    old_tool = lambda *words: seconds_of(["uml_mconsole", str(hand.mconsole), *words])
    ctl = lambda *words: seconds_of([bed.umlctl, *words], env=bed.env)
    for rep in range(reps + 1):
        round_ = {
            "raw": (raw(f"config ubdb={disks['hand']}"), raw("remove ubdb")),
            "uml_mconsole": (old_tool("config", f"ubdb={disks['hand']}"), old_tool("remove", "ubdb")),
            "umlctl": (ctl("plug", "plug", f"ubdb={disks['plug']}"), ctl("unplug", "plug", "ubdb")),
            "umlctl --live-only": (ctl("plug", "plug", f"ubdb={disks['plug']}", "--live-only"),
                                   ctl("unplug", "plug", "ubdb", "--live-only")),
        }
        lines = check([bed.api_plug, bed.socket, "plug", f"ubdb={disks['plug']}", "2"], env=bed.env).splitlines()
        # The first call on a connection also sets it up.
        round_["gRPC"] = tuple(float(word) for word in lines[1].split())
        if rep > 0:
            for way, (plug, unplug) in round_.items():
                times[way][0].append(plug)
                times[way][1].append(unplug)
    # One after the other without a pause, each way over one connection.
    rates = {"raw": [], "gRPC": []}
    for _ in range(5):
        begin = time.monotonic()
        for _ in range(PAIRS):
            raw(f"config ubdb={disks['hand']}")
            raw("remove ubdb")
        rates["raw"].append(PAIRS / (time.monotonic() - begin))
        lines = check([bed.api_plug, bed.socket, "plug", f"ubdb={disks['plug']}", str(PAIRS)], env=bed.env).splitlines()
        rates["gRPC"].append(PAIRS / sum(float(word) for line in lines for word in line.split()))
    hand.end()
    bed.ctl("delete", "--force", "plug")
    return times, rates


WAYS = {
    "raw": "raw mconsole datagram to a kernel started by hand",
    "uml_mconsole": "`uml_mconsole` to the same kernel",
    "umlctl": "`umlctl plug`, `umlctl unplug`",
    "umlctl --live-only": "the same with `--live-only`",
    "gRPC": "the API over a connection that is there already",
}


def report_plug(times, rates):
    text = [f"## Plug and unplug of a disk, {len(times['raw'][0])} times", "",
            *table(["", "plug, ms", "unplug, ms"], [[WAYS[way], ms(plug), ms(unplug)]
                                                    for way, (plug, unplug) in times.items()]), "",
            f"Pairs of both per second, {PAIRS} in a row over one connection: {spread(rates['raw'])} raw, "
            f"{spread(rates['gRPC'])} through the API, durable and with its events (ratio "
            f"{p50(rates['gRPC']) / p50(rates['raw']):.2f})."]
    verdicts = []
    for word, side in (("plug", 0), ("unplug", 1)):
        extra = (p50(times["gRPC"][side]) - p50(times["raw"][side])) * 1000
        ours, theirs = p50(times["umlctl"][side]), p50(times["uml_mconsole"][side])
        verdicts.append(Verdict(f"{word} through the API, over the raw datagram", 3, extra, "ms",
                                f"`umlctl {word}` beside `uml_mconsole`: ratio {ours / theirs:.2f}"))
    return text, verdicts
