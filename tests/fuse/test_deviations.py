"""Where a mount differs from a local file system. The page bindings/fuse/README.md tells of each."""

import errno
import fcntl
import os
import pathlib
import select
import subprocess

import pytest

from mounts import STATX_ATTR_IMMUTABLE, as_nobody, statx


def test_locks_of_directories_hold_within_one_mount(two):
    a, b = two
    (a / "d").mkdir()
    first, second = os.open(a / "d", os.O_RDONLY), os.open(a / "d", os.O_RDONLY)
    elsewhere = os.open(b / "d", os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(elsewhere, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for fd in (first, second, elsewhere):
        os.close(fd)


def test_statx_does_not_tell_of_inode_flags(mount):
    """The protocol has a place for them and the mount fills it; the kernel does not look there."""
    (mount / "f").touch()
    subprocess.run(["chattr", "+i", mount / "f"], check=True)
    assert statx(mount / "f").attributes & STATX_ATTR_IMMUTABLE == 0
    assert b"i" in subprocess.run(["lsattr", mount / "f"], capture_output=True).stdout.split()[0]
    subprocess.run(["chattr", "-i", mount / "f"], check=True)


def test_nobody_is_asked_about_a_fifo_without_default_permissions(mounted):
    mount = mounted("allow_other,no_default_permissions")
    os.mkfifo(mount / "fifo", 0o600)
    (mount / "f").touch(0o600)

    def opening(name):
        return as_nobody(lambda: os.open(mount / name, os.O_RDWR | os.O_NONBLOCK))

    assert opening("f") == errno.EACCES
    assert opening("fifo") == 0


def test_the_kernel_answers_access_by_the_mode_alone(mount):
    (mount / "f").touch()
    subprocess.run(["chattr", "+i", mount / "f"], check=True)
    assert os.access(mount / "f", os.W_OK)
    with pytest.raises(PermissionError):
        os.open(mount / "f", os.O_WRONLY)
    subprocess.run(["chattr", "-i", mount / "f"], check=True)


def test_append_only_files_are_not_written_with_the_writeback_cache(mounted):
    mount = mounted("writeback_cache")
    (mount / "f").touch()
    subprocess.run(["chattr", "+a", mount / "f"], check=True)
    with pytest.raises(PermissionError):
        os.open(mount / "f", os.O_WRONLY | os.O_APPEND)
    subprocess.run(["chattr", "-a", mount / "f"], check=True)


def test_files_can_be_polled(mount):
    """The kernel lets every file of FUSE be; epoll_ctl(2) of a local file is EPERM."""
    with open(mount / "f", "w+b") as file, select.epoll() as poll:
        poll.register(file, select.EPOLLIN)
        assert poll.poll(1) == [(file.fileno(), select.EPOLLIN)]


def test_there_are_no_swap_files(mount):
    with open(mount / "f", "wb") as file:
        file.write(bytes(1 << 20))
    os.chmod(mount / "f", 0o600)
    subprocess.run(["mkswap", mount / "f"], check=True, capture_output=True)
    tried = subprocess.run(["swapon", mount / "f"], capture_output=True, text=True)
    assert tried.returncode != 0 and "Invalid argument" in tried.stderr


def test_holes_count_as_space_and_none_is_reserved(mount):
    """Where a file has data is not among its attributes."""
    with open(mount / "f", "wb") as file:
        file.truncate(1 << 30)
        assert os.fstat(file.fileno()).st_blocks == (1 << 30) // 512
        free = os.statvfs(mount.path).f_bavail * os.statvfs(mount.path).f_frsize
        os.posix_fallocate(file.fileno(), 0, 2 * free)


def test_locks_are_not_in_the_kernels_list(mount):
    with open(mount / "f", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        number = os.fstat(file.fileno()).st_ino
        locks = pathlib.Path("/proc/locks").read_text().split()
        device = os.fstat(file.fileno()).st_dev
        assert f"{os.major(device):02x}:{os.minor(device):02x}:{number}" not in locks
