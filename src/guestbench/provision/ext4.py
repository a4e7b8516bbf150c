"""Writes an ext4 file system with the files of a folder, the same byte for byte for the same files.

No root is needed, and no loop device.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from guestbench.errors import ToolFailed
from guestbench.host import process
from guestbench.provision.layout import derive_uuid
from guestbench.provision.versions import find_versions

LABEL = "guestbench"
BLOCK_BYTES = 4096
INODE_BYTES = 256
SPARE_BLOCKS = 64
"""Room for what the file system keeps besides files, folders and inodes: bitmaps, descriptors, extents."""
FEATURES = "none,ext_attr,dir_index,filetype,extent,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
"""All of them named, so that they do not depend on the host's mke2fs.conf. There is no journal."""
TIME_S = 1
"""The time of every file. Zero would mean to the ext tools that no time was given."""


def describe_writer() -> dict[str, str]:
    """What an image depends on besides the files in it."""
    return {"label": LABEL, "features": FEATURES, **find_versions("mke2fs")}


def write_image(image: Path, tree: Path) -> None:
    """Write the plain files and folders of `tree`, owned by root, into an ext4 image just large enough.

    Its identifiers follow from what is in it. Files are added one by one in the order of their names:
    `mke2fs -d` would take them in the order of the host's file system, with its owners and times of change.

    Raises:
        ToolMissing, ToolFailed: mke2fs, debugfs or e2fsck is not installed, or failed.
    """
    entries = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    sizes = [(tree / each).stat().st_size if (tree / each).is_file() else BLOCK_BYTES for each in entries]
    inodes = len(entries) + 16
    blocks = sum(-(-size // BLOCK_BYTES) for size in sizes) + inodes * INODE_BYTES // BLOCK_BYTES
    contents = hashlib.sha256()
    for entry in entries:
        data = (tree / entry).read_bytes() if (tree / entry).is_file() else b""
        contents.update(f"{entry}\0".encode() + data)
    uuid, seed = (derive_uuid(contents.hexdigest(), use) for use in ("tools", "tools hash seed"))
    # The older variable; the newer SOURCE_DATE_EPOCH is known to mke2fs from 1.47.1 on only.
    env = {"E2FSPROGS_FAKE_TIME": str(TIME_S), "SOURCE_DATE_EPOCH": str(TIME_S), "LC_ALL": "C.UTF-8"}
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-I", str(INODE_BYTES)]
    argv += ["-N", str(inodes), "-m", "0", "-L", LABEL, "-U", str(uuid), "-O", FEATURES]
    argv += ["-E", f"hash_seed={seed},lazy_itable_init=0,root_owner=0:0"]
    folder, room = image.parent, blocks + blocks // 100 + SPARE_BLOCKS
    # Relative paths: the ext tools take what follows a `?` in a path as options.
    process.run([*argv, image.name, str(room)], cwd=folder, env=env)
    from_tree = os.path.relpath(image, tree)
    commands = "".join(f"{line}\n" for line in _debugfs_commands(tree, entries)).encode()
    done = process.run(["debugfs", "-w", "-f", "-", from_tree], input=commands, cwd=tree, env=env)
    complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines()[1:] if line.strip()]
    if complaints:
        raise ToolFailed(
            f"debugfs could not write {image.name}: {complaints[0]}",
            f"df -h {image.parent}",
            status=done.status,
            stderr=process.tail(done.stderr),
        )
    process.run(["e2fsck", "-f", "-n", image.name], cwd=folder, env=env)


def _debugfs_commands(tree: Path, entries: Sequence[Path]) -> Iterator[str]:
    times = ("atime", "ctime", "mtime", "crtime")
    # mke2fs makes this one; a file system that is only read has nothing to lose and find.
    yield "rmdir lost+found"
    for entry in entries:
        is_folder = (tree / entry).is_dir()
        mode = 0o41777 if entry.name == "tmp" else 0o40755 if is_folder else 0
        yield f"mkdir {entry}" if is_folder else f"write {entry} {entry}"
        mode = mode or 0o100000 | (tree / entry).stat().st_mode & 0o777
        yield f"set_inode_field {entry} mode 0{mode:o}"
        yield from (f"set_inode_field {entry} {field} 0" for field in ("uid", "gid"))
    for entry in (Path("/"), *entries):
        yield from (f"set_inode_field {entry} {field} @{TIME_S}" for field in times)
