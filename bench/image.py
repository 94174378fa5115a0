"""The root filesystem of a guest that only measures: a busybox, and an init that is all it does."""

import shutil
import subprocess


def make_image(bed, name, init):
    """NAME.img in the bed's folder, with `init` as its /sbin/init."""
    tree = bed.folder / name
    for folder in ("bin", "dev", "mnt", "proc", "sys", "sbin"):
        (tree / folder).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", tree / "bin/busybox")
    (tree / "sbin/init").write_text(init)
    (tree / "sbin/init").chmod(0o755)
    image = bed.folder / f"{name}.img"
    # The kernel opens /dev/console before init runs, and Debian's kernel for UML mounts a devtmpfs there by itself.
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", tree, image, "16M"], check=True,
                   capture_output=True)
    shutil.rmtree(tree)
    return image
