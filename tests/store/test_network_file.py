"""Network filesystems are told from local ones by what the kernel says is mounted where."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskqueue.store.network_file import network_filesystem

LINE = "36 35 98:0 / {point} rw,noatime master:1 - {kind} server:/export rw\n"


def mounts(folder: Path, *points: tuple[Path | str, str]) -> Path:
    """A mount table as the kernel prints it."""
    table = folder / "mountinfo"
    lines = [
        LINE.format(point=str(point).replace(" ", "\\040"), kind=kind, source="server:/export")
        for point, kind in points
    ]
    table.write_text("".join(lines))
    return table


def found(tmp_path: Path, *points: tuple[Path | str, str], file: str = "data/queue.db") -> str | None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    return network_filesystem(tmp_path / file, mounts(tmp_path, *points))


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "glusterfs", "lustre"])
def test_a_network_filesystem_is_named(tmp_path: Path, kind: str) -> None:
    assert found(tmp_path, ("/", "ext4"), (tmp_path / "data", kind)) == kind


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuseblk"])
def test_a_local_filesystem_is_none(tmp_path: Path, kind: str) -> None:
    assert found(tmp_path, ("/", "nfs"), (tmp_path / "data", kind)) is None


def test_the_innermost_mount_counts(tmp_path: Path) -> None:
    points = [(tmp_path / "data", "nfs4"), ("/", "ext4"), (tmp_path / "data" / "local", "xfs"), (tmp_path, "ext4")]
    assert found(tmp_path, *points) == "nfs4"
    assert found(tmp_path, *points, file="data/local/deep/queue.db") is None
    assert found(tmp_path, *points, file="database/queue.db") is None


def test_of_two_mounts_on_one_point_the_later_counts(tmp_path: Path) -> None:
    assert found(tmp_path, (tmp_path / "data", "ext4"), (tmp_path / "data", "nfs")) == "nfs"
    assert found(tmp_path, (tmp_path / "data", "nfs"), (tmp_path / "data", "ext4")) is None


@pytest.mark.parametrize("name", ["with space", "grüße", "back\\slash"])
def test_a_point_is_read_as_the_kernel_escapes_it(tmp_path: Path, name: str) -> None:
    point = str(tmp_path / name).replace("\\", "\\134")
    assert found(tmp_path, ("/", "ext4"), (point, "nfs"), file=f"{name}/queue.db") == "nfs"


def test_a_link_is_followed_to_where_the_file_lies(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "here").symlink_to("shared")
    assert found(tmp_path, ("/", "ext4"), (tmp_path / "shared", "nfs"), file="here/queue.db") == "nfs"


def test_lines_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    table = mounts(tmp_path, ("/", "ext4"), (tmp_path, "nfs"))
    table.write_text("garbage\n\n36 35\n1 2 3 4 5 -\n" + table.read_text())
    assert network_filesystem(tmp_path / "queue.db", table) == "nfs"


def test_a_mount_whose_name_is_no_text_does_not_hide_the_others(tmp_path: Path) -> None:
    table = mounts(tmp_path, ("/", "ext4"), (tmp_path, "nfs"))
    table.write_bytes(b"36 35 98:0 / /media/st\xe9phane rw - vfat /dev/sdb1 rw\n" + table.read_bytes())
    assert network_filesystem(tmp_path / "queue.db", table) == "nfs"


def test_where_the_kernel_says_nothing_a_file_counts_as_local(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path / "queue.db", tmp_path / "no-such-table") is None
    assert network_filesystem(tmp_path / "queue.db") is None
