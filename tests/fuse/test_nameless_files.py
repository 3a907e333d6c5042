"""O_TMPFILE and statx(2), which libfuse does not know: see bindings/fuse/wire.h."""

import contextlib
import errno
import mmap
import os
import stat
import subprocess
import time

import pytest

from mounts import (
    AT_FORCE_SYNC,
    NOBODY,
    STATX_BTIME,
    as_nobody,
    in_children,
    link_open_file,
    statx,
    wait_until,
)


def nameless(directory, flags=os.O_RDWR, mode=0o600):
    return os.open(directory, os.O_TMPFILE | flags, mode)


@pytest.fixture(
    params=["allow_other", "allow_other,no_default_permissions", "allow_other,writeback_cache"]
)
def any_mount(request, mounted):
    return mounted(request.param)


def test_a_file_without_a_name(any_mount):
    mount = any_mount
    fd = nameless(mount.path)
    assert os.listdir(mount.path) == []
    assert os.fstat(fd).st_nlink == 0
    data = os.urandom(300_000)
    assert os.write(fd, data) == len(data)
    os.fsync(fd)
    with mmap.mmap(fd, len(data)) as mapped:
        assert mapped[:] == data
        mapped[:5] = b"hello"
    os.ftruncate(fd, 200_000)
    assert os.pread(fd, 1 << 20, 0) == b"hello" + data[5:200_000]
    with open(f"/proc/self/fd/{fd}", "rb") as again:
        assert again.read(5) == b"hello"
    os.setxattr(fd, "user.a", b"1")
    os.fchmod(fd, 0o640)
    (mount / "f").write_bytes(b"another")
    os.close(fd)
    assert os.listdir(mount.path) == ["f"]
    assert mount.stats()["op_tmpfile"] == 1


def test_it_gets_a_name(any_mount):
    mount = any_mount
    (mount / "d").mkdir()
    (mount / "taken").touch()
    fd = nameless(mount.path, os.O_WRONLY, 0o644)
    os.write(fd, b"before")
    with pytest.raises(FileExistsError):
        link_open_file(fd, mount / "taken")
    link_open_file(fd, mount / "d" / "f")
    ino = os.fstat(fd).st_ino
    there = os.stat(mount / "d" / "f")
    assert (there.st_ino, there.st_nlink, there.st_size) == (ino, 1, 6)
    assert os.fstat(fd).st_nlink == 1
    os.write(fd, b", after")
    os.link(mount / "d" / "f", mount / "g")
    os.close(fd)
    assert (mount / "g").read_bytes() == b"before, after"
    assert os.stat(mount / "g").st_nlink == 2
    assert sorted(os.listdir(mount.path)) == ["d", "g", "taken"]
    # It is a file as others are from now on: without names it gets none any more.
    fd = os.open(mount / "g", os.O_RDWR)
    os.unlink(mount / "g")
    os.unlink(mount / "d" / "f")
    with pytest.raises(FileNotFoundError):
        link_open_file(fd, mount / "h")
    os.close(fd)


def test_with_o_excl_it_gets_no_name(mount):
    fd = nameless(mount.path, os.O_RDWR | os.O_EXCL)
    with pytest.raises(FileNotFoundError):
        link_open_file(fd, mount / "f")
    os.write(fd, b"still of use")
    os.close(fd)
    assert os.listdir(mount.path) == []


def test_its_mode_and_owner_are_those_of_a_created_file(mount, tmp_path):
    """umask, set-group-ID directories and default ACLs: beside what O_CREAT makes."""
    for name in ("plain", "group", "acl"):
        (mount / name).mkdir()
        os.chmod(mount / name, 0o777)
    os.chown(mount / "group", 7, 4711)
    os.chmod(mount / "group", 0o2777)
    subprocess.run(["setfacl", "-d", "-m", "u:12:rwx,g::rx,o::-", mount / "acl"], check=True)

    def attributes(path):
        there = os.stat(path)
        acl = subprocess.run(["getfacl", "-cnpE", path], capture_output=True, check=True).stdout
        return there.st_mode, there.st_uid, there.st_gid, acl

    def make(directory, mode):
        os.umask(0o027)
        os.close(os.open(directory / f"{mode:o}-named", os.O_CREAT | os.O_RDWR, mode))
        fd = nameless(directory, os.O_RDWR, mode)
        link_open_file(fd, directory / f"{mode:o}-linked")
        os.close(fd)

    for name in ("plain", "group", "acl"):
        for mode in (0o666, 0o777, 0o2755, 0o4711):
            assert as_nobody(make, mount / name, mode) == 0
            made = attributes(mount / name / f"{mode:o}-linked")
            assert made == attributes(mount / name / f"{mode:o}-named"), (name, oct(mode))
    assert os.stat(mount / "group" / "666-linked").st_gid == 4711
    assert os.stat(mount / "plain" / "666-linked").st_gid == NOBODY


@pytest.mark.parametrize("options", ["allow_other", "allow_other,no_default_permissions"])
def test_who_may_make_one(mounted, options):
    mount = mounted(options)
    (mount / "closed").mkdir()
    (mount / "file").touch()
    assert as_nobody(nameless, mount / "closed") == errno.EACCES
    os.chmod(mount / "closed", 0o733)
    assert as_nobody(nameless, mount / "closed") == 0
    with pytest.raises(NotADirectoryError):
        nameless(mount / "file")
    with pytest.raises(FileNotFoundError):
        nameless(mount / "none")
    with pytest.raises(OSError) as caught:
        nameless(mount / ".skerry")
    assert caught.value.errno == errno.EPERM


def test_a_read_only_mount_makes_none(url, mounted):
    with pytest.raises(OSError) as caught:
        nameless(mounted("ro").path)
    assert caught.value.errno == errno.EROFS


def test_another_mount_sees_it_once_it_has_a_name(two):
    a, b = two
    fd = nameless(a.path)
    os.write(fd, b"x" * 100_000)
    os.fsync(fd)
    assert os.listdir(b.path) == []
    link_open_file(fd, a / "f")
    assert (b / "f").read_bytes() == b"x" * 100_000
    os.rename(b / "f", b / "g")
    os.unlink(b / "g")
    os.pwrite(fd, b"y", 0)
    assert os.pread(fd, 2, 0) == b"yx"
    os.close(fd)
    assert os.listdir(a.path) == []


def objects(folder):
    paths = (folder / "volume" / "vol.db.data").rglob("*")
    return [path for path in paths if path.is_file() and "chunks" in path.parts]


@pytest.mark.format("--session-expiry", "5s")
def test_a_killed_mount_leaves_none(doomed, mounted, tmp_path):
    killed, alive = doomed(), mounted()
    lost, kept = nameless(killed.path), nameless(killed.path)
    for fd in (lost, kept):
        os.write(fd, os.urandom(300_000))
        os.fsync(fd)
    link_open_file(kept, killed / "kept")
    used = len(objects(tmp_path))
    assert used > 1
    killed.process.kill()
    killed.process.wait()
    for fd in (lost, kept):
        with contextlib.suppress(OSError):
            os.close(fd)
    killed.end()
    wait_until(lambda: len(objects(tmp_path)) < used, seconds=90, what="the space of the file")
    assert os.listdir(alive.path) == ["kept"]
    assert os.stat(alive / "kept").st_size == 300_000


def test_many_at_once(mount):
    """Each thread of the mount knows which request it serves."""

    def work(worker):
        for i in range(100):
            fd = nameless(mount.path)
            os.write(fd, b"%d" % i)
            if i % 2 == 0:
                link_open_file(fd, mount / f"{worker}-linked-{i}")
            path = mount / f"{worker}-named-{i}"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR))
            assert statx(path, AT_FORCE_SYNC).mask & STATX_BTIME
            assert os.fstat(fd).st_size == len(str(i))
            os.close(fd)

    in_children(*[lambda worker=worker: work(worker) for worker in range(4)])
    assert len(os.listdir(mount.path)) == 4 * 150


def test_birth_times(mounted):
    options = "allow_other,attr_timeout=0,entry_timeout=0"
    a, b = mounted(options), mounted(options)
    begin = time.time_ns()
    (a / "f").write_bytes(b"text")
    (a / "d").mkdir()
    end = time.time_ns()
    born = {name: statx(a / name).btime_ns for name in ("f", "d")}
    assert all(begin <= time_ns <= end for time_ns in born.values())
    os.chmod(a / "f", 0o600)
    os.utime(a / "f", (1, 1))
    with open(b / "f", "ab") as file:
        file.write(b" and more")
        file.flush()
        assert statx("", 0x1000, file.fileno()).btime_ns == born["f"]
    os.rename(b / "f", b / "g")
    told = statx(a / "g", AT_FORCE_SYNC)
    assert told.mask & STATX_BTIME
    assert (told.btime_ns, told.size) == (born["f"], 13)
    # The rest is what stat(2) says.
    plain = os.stat(a / "g")
    assert told[2:6] == (plain.st_nlink, plain.st_mode, plain.st_ino, plain.st_size)
    shown = subprocess.run(["stat", "-c", "%W", a / "g"], capture_output=True, check=True)
    assert int(shown.stdout) == born["f"] // 10**9
    assert statx(b / "d").btime_ns == born["d"]
    assert not statx(a / ".skerry" / "stats").mask & STATX_BTIME
    assert a.stats()["op_statx"] > 0


def test_statx_of_devices_and_links(mount):
    os.mknod(mount / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.symlink("null", mount / "link")
    assert statx(mount / "null", AT_FORCE_SYNC).mode == 0o600 | stat.S_IFCHR
    assert os.stat(mount / "null").st_rdev == os.makedev(1, 3)
    assert statx(mount / "link", AT_FORCE_SYNC | 0x100).size == 4
