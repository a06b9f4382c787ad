"""Whether a file lies on a network filesystem, where SQLite's locks and WAL cannot be trusted."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")
_NETWORK = frozenset(
    """
    9p afs ceph cifs coda fuse.glusterfs fuse.s3fs fuse.sshfs gfs2 glusterfs
    gpfs lustre ncpfs nfs nfs4 ocfs2 smb3 smbfs
    """.split()  # noqa: SIM905 - a list of words
)


def network_filesystem(file: Path, mounts: Path = _MOUNTS) -> str | None:
    """The name of the network filesystem ``file`` lies on; ``None`` for a local one, or where this cannot be told."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:  # not Linux
        return None
    folder = file.parent.resolve()
    points = sorted(_mount_points(lines), key=lambda point: len(point[0]))
    kind = next((kind for path, kind in reversed(points) if folder.is_relative_to(path)), None)
    return kind if kind in _NETWORK else None


def _mount_points(lines: list[bytes]) -> list[tuple[str, str]]:
    points = []
    for line in lines:
        before, _, after = line.partition(b" - ")
        fields = before.split()
        if len(fields) > 4 and after:
            points.append((_path(fields[4]), os.fsdecode(after.split()[0])))
    return points


def _path(field: bytes) -> str:
    """A path as the kernel prints it: a space as \\040, and so on; its other bytes need not be text."""
    return os.fsdecode(_ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), field))
