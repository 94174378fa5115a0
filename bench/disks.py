"""Images, COW files, reset and snapshots, each beside the tool that does the same by hand, in turn."""

import json
import os
import random
import shutil
import subprocess
import time

from image import make_image
from report import Verdict, ms, p50, table

BACKING_GIB = 2
WRITTEN_MIB = 64
TREE_MIB = 128
DONE = "disks-done"
INIT = f"""#!/bin/busybox sh
export PATH=/bin
busybox dd if=/dev/ubdc of=/dev/ubdb bs=1M count={WRITTEN_MIB} seek=100 conv=fsync 2>/dev/null
busybox echo {DONE}
while :; do busybox sleep 1000; done
"""


def timed(argv, env=None):
    begin = time.monotonic()
    subprocess.run(argv, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def noise(path, mib):
    generator = random.Random(1)
    with open(path, "wb") as file:
        for _ in range(mib):
            file.write(generator.randbytes(1 << 20))


def make_tree(folder):
    """What a root filesystem is like: many small files, some large ones."""
    generator = random.Random(2)
    left = TREE_MIB << 20
    count = 0
    while left > 0:
        size = min(left, 4 << 20 if count % 200 == 0 else generator.randrange(200, 60_000))
        path = folder / f"usr/share/d{count % 300}/f{count}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator.randbytes(size // 2) + b"text " * (size // 10))
        left -= size
        count += 1


def guest_that_wrote(bed):
    """A guest whose ubdb is a COW file with WRITTEN_MIB in it, ended again; returns that file, its backing file, and how long
    the guest stood still for each of some snapshots."""
    image = make_image(bed, "disks", INIT)
    backing, cow = bed.folder / "backing.img", bed.folder / "written.cow"
    noise(bed.folder / "noise", WRITTEN_MIB)
    with open(backing, "wb") as file:
        file.truncate(BACKING_GIB << 30)
    bed.ctl("create", "writer", "--disk", f"ubdar={image}", "--disk", f"ubdb={cow},{backing}", "--disk",
            f"ubdcr={bed.folder}/noise", "--mem", "64M", "--arg", "root=/dev/ubda", "--arg", "ro")
    bed.ctl("start", "writer")
    log = bed.folder / "state/guests" / str(bed.guest("writer")["id"]) / "con0.log"
    deadline = time.monotonic() + 120
    while DONE.encode() not in log.read_bytes():
        if time.monotonic() > deadline:
            raise TimeoutError("the guest has not written its disk")
        time.sleep(0.05)
    pauses = []
    for i in range(3):
        bed.ctl("snapshot", "create", "writer", f"s{i}")
        shown = json.loads(bed.ctl("snapshot", "list", "writer", "-o", "json"))[-1]
        pauses.append(float(shown["paused"].rstrip("s")))
    bed.ctl("kill", "writer")
    return cow, backing, pauses


def bench_disks(bed, reps):
    """Seconds, per task and per tool; the first tool of each task is ours."""
    times = {task: {} for task in ("new COW file", "merge", "import")}

    def note(task, tool, seconds):
        times[task].setdefault(tool, []).append(seconds)

    cow, backing, pauses = guest_that_wrote(bed)
    tree = bed.folder / "root"
    tree.mkdir()
    make_tree(tree)
    archive = bed.folder / "root.tar"
    subprocess.run(["tar", "-C", tree, "-cf", archive, "."], check=True)
    shutil.rmtree(tree)
    bed.ctl("image", "build", "tiny")
    bed.ctl("create", "reset", "--image", "tiny", "--mem", "64M")
    bed.ctl("start", "reset")
    bed.ctl("stop", "reset")
    umlctl = str(bed.umlctl)
    out = bed.folder / "out"
    for rep in range(reps):
        note("new COW file", "`umlctl reset` of a stopped guest", timed([umlctl, "reset", "reset"], bed.env))
        note("new COW file", f"`uml_mkcow` over {BACKING_GIB} GiB", timed(["uml_mkcow", "-f", out, backing]))
        note("new COW file", f"`qemu-img create -b` over {BACKING_GIB} GiB",
             timed(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, f"{out}.qcow2"]))
        note("merge", "`umlctl disk commit --image`",
             timed([umlctl, "disk", "commit", cow, "--image", "merged", "--replace"], bed.env))
        os.unlink(out)
        note("merge", "`uml_moo`", timed(["uml_moo", "-b", backing, cow, out]))
        os.unlink(out)
        note("import", "`umlctl image import`",
             timed([umlctl, "image", "import", "--replace", "--size", "1G", "imported", archive], bed.env))
        note("import", "`tar`, then `mke2fs -d`",
             timed(["sh", "-c", 'mkdir "$1.d" && tar -C "$1.d" -xf "$2" && /usr/sbin/mke2fs -q -t ext4 -d "$1.d" "$1" 1G',
                    "sh", out, archive]))
        os.unlink(out)
        shutil.rmtree(f"{out}.d")
        bed.ctl("image", "prune")
        print(f"  disks {rep + 1}/{reps}", flush=True)
    return times, pauses


def report_disks(times, pauses):
    rows = [[task, tool, ms(seconds)] for task, tools in times.items() for tool, seconds in tools.items()]
    rows.append([f"snapshot of a running guest, {WRITTEN_MIB} MiB in its disk", "how long it stood still", ms(pauses)])
    text = [f"## Disks, {len(next(iter(times['merge'].values())))} times", "",
            f"A merge is of {WRITTEN_MIB} MiB over {BACKING_GIB} GiB of holes, an import of a tar of {TREE_MIB} MiB. The first of "
            "each is ours, as a whole command: with the API and a durable outcome.", "",
            *table(["task", "with", "milliseconds"], rows)]
    ours, theirs = (p50(seconds) for seconds in list(times["merge"].values())[:2])
    return text, [Verdict("merging a COW file beside `uml_moo`", 1, ours / theirs, "")]
