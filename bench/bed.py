"""Where everything is measured: a folder, an umld in it, the programs; and what has to be ended with them."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKER = b"init-says-hello"


def fail(message, hint=""):
    print(f"error: bench: {message}", file=sys.stderr)
    if hint:
        print(f"hint:  {hint}", file=sys.stderr)
    sys.exit(1)


def say(text):
    print(text, flush=True)


def check(argv, **options):
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if result.returncode != 0:
        words = " ".join(map(str, argv))
        fail(f"{words[:300]}: exit code {result.returncode}: {result.stderr.strip()[-2000:]}")
    return result.stdout


def seconds_of(argv, **options):
    """From before the program is started until it has ended."""
    start = time.monotonic()
    check(argv, **options)
    return time.monotonic() - start


def await_(what, condition, timeout=60.0):
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            fail(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(0.005)


def become_reaper():
    """Orphans of our children become our children."""
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        fail(f"prctl: {os.strerror(ctypes.get_errno())}")


def children():
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def end_children(is_ours):
    """Kills and reaps those of our children, orphans of theirs among them, whose command line `is_ours`."""
    while strays := [pid for pid in children() if is_ours(command_line(pid))]:
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


class Bed:
    """A folder, an umld in it, and the programs. Leaves nothing behind."""

    def __init__(self, bin_dir, kernel):
        self.umlctl = bin_dir / "umlctl/umlctl"
        self.api_plug = bin_dir / "bench/api_plug"
        self.api_load = bin_dir / "bench/api_load"
        self.umld_program = bin_dir / "umld/umld"
        self.vmcore = bin_dir / "vmcore/vmcore"
        self.kernel = kernel
        programs = (self.umlctl, self.umld_program, self.vmcore, self.api_plug, self.api_load)
        for program in programs:
            if not program.exists():
                fail(f"{program} is missing", "bazel build -c opt //umld //umlctl //vmcore //bench:all")
        # On a disk, as in real life: the database is synced for every change. Short: sockets live below it.
        self.folder = Path(tempfile.mkdtemp(prefix="umldb.", dir="/var/tmp"))
        # Confined kernels pass through it; nothing below it is secret.
        self.folder.chmod(0o755)
        # Gone with the next boot, as /run is.
        self.run = Path(tempfile.mkdtemp(prefix="umldb.", dir="/dev/shm"))
        self.run.chmod(0o755)
        self.socket = self.run / "umld.sock"
        self.env = dict(os.environ, UMLD_ADDRESS=f"unix:{self.socket}")
        self.umld = None
        self.by_hand = []

    def start_umld(self, reclaim_after="0"):
        """By default without a policy that comes between measurements."""
        with open(self.folder / "umld.log", "ab") as log:
            self.umld = subprocess.Popen(
                [self.umld_program, "--state-dir", self.folder / "state", "--run-dir", self.run,
                 "--mconsole-dir", self.folder / "uml", "--kernel", self.kernel, "--vmcore", self.vmcore,
                 "--reclaim-after", reclaim_after],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # Accepting, not just there.
        await_("umld", lambda: subprocess.run([self.umlctl, "list"], env=self.env, capture_output=True).returncode == 0)

    def end_umld(self):
        """Its guests go on."""
        self.umld.terminate()
        self.umld.wait(timeout=30)

    def ctl(self, *words):
        return check([self.umlctl, *words], env=self.env)

    def load(self, *words):
        return json.loads(check([self.api_load, self.socket, *map(str, words)]))

    def guest(self, name):
        return json.loads(self.ctl("describe", name, "-o", "json"))

    def log_of(self, name):
        return self.folder / "state/guests" / str(self.guest(name)["id"]) / "con0.log"

    def close(self):
        for guest in self.by_hand:
            guest.end()
        if self.umld is not None and self.umld.poll() is None:
            self._end_guests()
            try:
                self.end_umld()
            except subprocess.TimeoutExpired:
                self.umld.kill()
                self.umld.wait()
        for folder in (self.folder, self.run):
            shutil.rmtree(folder, ignore_errors=True)

    def _end_guests(self):
        quietly = lambda *words: subprocess.run([self.umlctl, *words], env=self.env, stdin=subprocess.DEVNULL,
                                                capture_output=True, text=True)
        pools = quietly("pool", "list", "-o", "json")
        for pool in json.loads(pools.stdout) if pools.returncode == 0 else []:
            if pool.get("warm"):
                quietly("pool", "set", "--mem", str(pool["memory_bytes"]), "--warm", "0")
        listed = quietly("list", "-o", "json")
        guests = json.loads(listed.stdout) if listed.returncode == 0 else []
        names = [guest["name"].split("/")[1] for guest in guests if guest["state"] != "STOPPED"]
        if names:
            quietly("delete", "--force", *names)
