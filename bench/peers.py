"""Containers of the same busybox: crun, systemd-nspawn, libvirt's lxc driver; and `virsh list`.

They run in a process of their own with a mount namespace of its own, where /run and libvirt's folders are empty, so that
nothing of the host is touched and nothing is left; one line in is one run, one line out its seconds, or why not.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

# Beside what bed.py defines: this file is also run as a program in the namespace.
MARKER = b"init-says-hello"
LIBVIRT_DRIVERS = Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver")
LXC = "lxc:///system"


class Peers:
    """What of it can be had here. As a normal user: none."""

    def __init__(self, folder):
        self.containers, self.missing, self.process = [], {}, None
        if os.geteuid() != 0:
            self.missing = {"containers": "they need root"}
            return
        folder.mkdir()
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for name in ("crun", "nspawn", "lxc"):
            answer = self._ask(name)
            if "seconds" in answer:
                self.containers.append(name)
            else:
                self.missing[name] = answer["error"]

    def _ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process for the containers has ended"}

    def run(self, what):
        """Seconds. What ran once and does not any more is an error."""
        answer = self._ask(what)
        if "seconds" not in answer:
            raise RuntimeError(f"{what}: {answer['error']}")
        return answer["seconds"]

    def close(self):
        if self.process is None:
            return
        self.process.stdin.close()
        self.process.wait()
        self.process = None


class Inside:
    """In the namespace."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.root = self.folder / "rootfs"
        self.libvirtd = None
        self.cgroups = set(self._machines())
        for place in ("/run", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"):
            if Path(place).is_dir():
                self._call("mount", "-t", "tmpfs", "none", place)
        # Neither crun nor libvirt takes a cgroup2 hierarchy beside version 1.
        if Path("/sys/fs/cgroup/unified").is_dir():
            subprocess.run(["umount", "/sys/fs/cgroup/unified"], capture_output=True)
        for place in ("bin", "dev", "etc", "proc", "sbin", "sys", "usr"):
            (self.root / place).mkdir(parents=True)
        # What systemd-nspawn knows an operating system by.
        (self.root / "etc/os-release").write_text("ID=busybox\n")
        for name in ("busybox", "sh"):
            shutil.copy("/usr/bin/busybox", self.root / "bin" / name)
        (self.root / "sbin/init").write_text(f"#!/bin/busybox sh\necho {MARKER.decode()} | /bin/busybox tee /started\n")
        (self.root / "sbin/init").chmod(0o755)

    def _call(self, *argv):
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=self.folder)
        if result.returncode != 0:
            lines = (result.stderr.strip() or f"exit code {result.returncode}").splitlines()
            raise RuntimeError(f"{argv[0]}: {lines[-1]}")
        return result.stdout

    def _until_marker(self, *argv):
        """Of a program in whose output it comes."""
        start = time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   cwd=self.folder)
        seen = False
        for line in process.stdout:
            if MARKER in line:
                seconds, seen = time.monotonic() - start, True
        error = process.stderr.read().decode(errors="replace").strip()
        process.wait()
        if not seen:
            raise RuntimeError(f"{argv[0]}: {(error.splitlines() or ['no output'])[-1]}")
        return seconds

    def crun(self):
        config = self.folder / "config.json"
        if not config.exists():
            self._call("crun", "spec")
            spec = json.loads(config.read_text())
            spec["process"].update(terminal=False, args=["/sbin/init"])
            spec["root"]["readonly"] = False
            config.write_text(json.dumps(spec))
        return self._until_marker("crun", "run", "umlbench")

    def nspawn(self):
        return self._until_marker("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", str(self.root),
                                  "/sbin/init")

    def _libvirt(self):
        if self.libvirtd is not None:
            return
        for name in ("virsh", "libvirtd"):
            if shutil.which(name) is None:
                raise RuntimeError(f"{name} is missing")
        driver = LIBVIRT_DRIVERS / "libvirt_driver_lxc.so"
        if not driver.exists():
            raise RuntimeError("libvirt-daemon-driver-lxc is missing")
        # The other drivers want users and services that these packages do not bring.
        alone = self.folder / "drivers"
        alone.mkdir()
        shutil.copy(driver, alone)
        self._call("mount", "--bind", str(alone), str(LIBVIRT_DRIVERS))
        with open(self.folder / "libvirtd.log", "wb") as log:
            self.libvirtd = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while subprocess.run(["virsh", "-c", LXC, "list"], capture_output=True).returncode != 0:
            if time.monotonic() > deadline or self.libvirtd.poll() is not None:
                raise RuntimeError("libvirtd does not answer")
            time.sleep(0.1)
        domain = self.folder / "domain.xml"
        domain.write_text(f"""<domain type='lxc'><name>umlbench</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type>exe</type><init>/sbin/init</init></os><devices><emulator>/usr/lib/libvirt/libvirt_lxc</emulator>
<filesystem type='mount'><source dir='{self.root}'/><target dir='/'/></filesystem><console type='pty'/></devices></domain>
""")
        self._call("virsh", "-c", LXC, "define", str(domain))

    def lxc(self):
        self._libvirt()
        started = self.root / "started"
        started.unlink(missing_ok=True)
        start = time.monotonic()
        process = subprocess.Popen(["virsh", "-c", LXC, "start", "umlbench"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        seconds = None
        while seconds is None and time.monotonic() - start < 20:
            if started.exists():
                seconds = time.monotonic() - start
            elif process.poll() not in (None, 0):
                break
            time.sleep(0.001)
        error = process.stderr.read().decode(errors="replace").strip()
        process.wait()
        # Its init has ended or is about to.
        subprocess.run(["virsh", "-c", LXC, "destroy", "umlbench"], capture_output=True)
        deadline = time.monotonic() + 10
        while "shut off" not in self._call("virsh", "-c", LXC, "domstate", "umlbench"):
            if time.monotonic() > deadline:
                raise RuntimeError("virsh: the container does not end")
            time.sleep(0.02)
        if seconds is None:
            raise RuntimeError(f"virsh start: {(error.splitlines() or ['init prints nothing'])[-1]}")
        return seconds

    def virsh_list(self):
        """Of a daemon with one domain."""
        self._libvirt()
        start = time.monotonic()
        self._call("virsh", "-c", LXC, "list", "--all")
        return time.monotonic() - start

    def close(self):
        if self.libvirtd is not None:
            self.libvirtd.terminate()
            self.libvirtd.wait()
        # libvirt leaves the folder of all its containers' control groups, one per hierarchy.
        for cgroup in set(self._machines()) - self.cgroups:
            with contextlib.suppress(OSError):
                cgroup.rmdir()

    @staticmethod
    def _machines():
        # Of a cgroup2 host it is one level up.
        return [path for pattern in ("machine", "*/machine") for path in Path("/sys/fs/cgroup").glob(pattern)]


def serve(folder):
    inside = Inside(folder)
    try:
        for line in sys.stdin:
            try:
                answer = {"seconds": getattr(inside, line.strip())()}
            except (RuntimeError, OSError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        inside.close()


if __name__ == "__main__":
    serve(sys.argv[1])
