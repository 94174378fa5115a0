"""The same kernel and image with no umld: a terminal as its console, as a person would have."""

import os
import pty
import select
import subprocess
import time

from bed import MARKER, end_children, fail


class GuestByHand:
    """Started, and waited for until its init has printed the marker, by the constructor."""

    count = 0

    def __init__(self, bed, image, memory, marker=MARKER):
        GuestByHand.count += 1
        self.umid = f"hand{GuestByHand.count}"
        self.uml_dir = bed.folder / "hand"
        bed.by_hand.append(self)
        self.master, slave = pty.openpty()
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [bed.kernel, f"mem={memory}", f"umid={self.umid}", f"uml_dir={self.uml_dir}/", "con0=fd:0,fd:1", "con=null",
             "ssl=null", f"ubda={image}", "root=/dev/ubda", "rw"],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.read_until(marker)
        self.seconds = time.monotonic() - self.start

    def read_until(self, marker):
        """What the guest has printed, as far as it has been read with `marker`."""
        seen, searched = bytearray(), 0
        while seen.find(marker, searched) < 0:
            searched = max(0, len(seen) - len(marker))
            if not select.select([self.master], [], [], 120)[0]:
                fail(f"the kernel started by hand prints no {marker!r}, but: {bytes(seen[-3000:])!r}")
            seen += os.read(self.master, 65536)
        return bytes(seen)

    @property
    def mconsole(self):
        return self.uml_dir / self.umid / "mconsole"

    def end(self):
        if self.master is None:
            return
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        self.master = None
        # However a UML kernel ends, helpers of it may stay behind with the lock on its disk. We are their reaper.
        end_children(lambda line: f"umid={self.umid} " in line)
