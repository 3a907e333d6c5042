"""What files and directories of one mount do."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import pathlib
import signal
import sqlite3
import struct
import subprocess
import sys
import time

import pytest

from mounts import EXCHANGE, NOREPLACE, in_children, libc, renameat2, skerry, wait_until


def fails(code, action, *arguments):
    with pytest.raises(OSError) as caught:
        action(*arguments)
    assert caught.value.errno == code


def test_unlinked_while_open(mount):
    file = open(mount / "f", "w+b", buffering=0)
    file.write(b"before")
    os.unlink(mount / "f")
    assert not (mount / "f").exists()
    assert os.fstat(file.fileno()).st_nlink == 0
    file.write(b" and after" * 1000)
    os.fsync(file.fileno())
    os.ftruncate(file.fileno(), 10_000)
    file.seek(0)
    assert file.read(16) == b"before and after"
    assert os.fstat(file.fileno()).st_size == 10_000
    with open(f"/proc/self/fd/{file.fileno()}", "rb") as again:
        assert again.read(6) == b"before"
    (mount / "f").write_text("another")
    file.seek(0)
    assert file.read(6) == b"before"
    file.close()
    assert (mount / "f").read_text() == "another"


def test_replaced_while_open(mount):
    (mount / "f").write_text("old")
    old = open(mount / "f", "r+")
    (mount / "g").write_text("new")
    os.rename(mount / "g", mount / "f")
    assert old.read() == "old"
    old.write("er")
    old.flush()
    old.seek(0)
    assert old.read() == "older"
    assert os.fstat(old.fileno()).st_nlink == 0
    old.close()
    assert (mount / "f").read_text() == "new"


def test_truncated_while_open(mount):
    (mount / "f").write_bytes(b"x" * 100_000)
    with open(mount / "f", "r+b", buffering=0) as file:
        assert len(file.read()) == 100_000
        os.truncate(mount / "f", 10)
        assert os.fstat(file.fileno()).st_size == 10
        assert os.pread(file.fileno(), 100, 0) == b"x" * 10
        os.truncate(mount / "f", 20)
        assert os.pread(file.fileno(), 100, 0) == b"x" * 10 + bytes(10)
        with open(mount / "f", "wb"):
            pass
        assert os.pread(file.fileno(), 100, 0) == b""


@pytest.mark.parametrize("options", ["", "writeback_cache"])
def test_a_running_program_is_not_cut(mounted, options):
    mount = mounted(*filter(None, [options]))
    program = mount / "sleep"
    program.write_bytes(pathlib.Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    size = os.stat(program).st_size
    with subprocess.Popen([program, "60"]) as running:
        for flags in (os.O_RDONLY | os.O_TRUNC, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
            fails(errno.ETXTBSY, os.open, program, flags)
        fails(errno.ETXTBSY, os.truncate, program, 1)
        assert running.poll() is None
        running.kill()
    assert os.stat(program).st_size == size
    os.close(os.open(program, os.O_RDONLY | os.O_TRUNC))
    assert os.stat(program).st_size == 0


def test_a_removed_working_directory(mount):
    (mount / "d").mkdir()
    before = os.getcwd()
    fd = os.open(mount / "d", os.O_RDONLY)
    os.chdir(mount / "d")
    try:
        os.rmdir(mount / "d")
        assert os.stat(".").st_nlink == 0
        assert os.fstat(fd).st_nlink == 0
        assert os.listdir(fd) == []
        fails(errno.ENOENT, os.mkdir, "x")
        fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY)
    finally:
        os.chdir(before)
        os.close(fd)


def test_renaming(mount):
    (mount / "a").write_text("a")
    (mount / "b").write_text("b")
    fails(errno.EEXIST, renameat2, mount / "a", mount / "b", NOREPLACE)
    renameat2(mount / "a", mount / "b", EXCHANGE)
    assert (mount / "a").read_text() == "b"
    fails(errno.EINVAL, renameat2, mount / "a", mount / "b", NOREPLACE | EXCHANGE)
    renameat2(mount / "a", mount / "c", NOREPLACE)
    # A hard link onto its twin: both names stay.
    os.link(mount / "b", mount / "twin")
    os.rename(mount / "b", mount / "twin")
    assert (mount / "b").read_text() == "a"
    assert os.stat(mount / "twin").st_nlink == 2
    (mount / "d" / "sub").mkdir(parents=True)
    (mount / "e").mkdir()
    fails(errno.ENOTEMPTY, os.rename, mount / "e", mount / "d")
    fails(errno.EISDIR, os.rename, mount / "b", mount / "e")
    fails(errno.ENOTDIR, os.rename, mount / "e", mount / "b")
    fails(errno.EINVAL, os.rename, mount / "d", mount / "d" / "sub" / "x")
    os.rename(mount / "d", mount / "e")
    assert os.listdir(mount / "e") == ["sub"]


def test_limits_of_offsets(mount):
    fd = os.open(mount / "f", os.O_CREAT | os.O_RDWR)
    fails(errno.EFBIG, os.pwrite, fd, b"x", 2**63 - 10)
    fails(errno.EFBIG, os.pwrite, fd, b"x", 2**57)
    fails(errno.EFBIG, os.ftruncate, fd, 2**57 + 1)
    fails(errno.EINVAL, os.ftruncate, fd, -1)
    os.pwrite(fd, b"end", 2**40)
    assert os.fstat(fd).st_size == 2**40 + 3
    assert os.lseek(fd, 0, os.SEEK_DATA) > 0
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    os.close(fd)


def test_statfs_returns_to_where_it_was(mount):
    before = os.statvfs(mount.path)
    (mount / "f").write_bytes(os.urandom(1 << 20))
    os.link(mount / "f", mount / "g")
    during = os.statvfs(mount.path)
    assert before.f_bfree - during.f_bfree == (1 << 20) // before.f_frsize
    assert before.f_ffree - during.f_ffree == 1
    os.unlink(mount / "f")
    os.unlink(mount / "g")
    after = os.statvfs(mount.path)
    assert (after.f_bfree, after.f_ffree) == (before.f_bfree, before.f_ffree)


def test_copy_file_range(mount):
    data = os.urandom(3 << 20)
    source = os.open(mount / "f", os.O_CREAT | os.O_RDWR)
    target = os.open(mount / "g", os.O_CREAT | os.O_RDWR)
    os.write(source, data)  # not flushed
    assert os.copy_file_range(source, target, len(data) + 100, 0, 0) == len(data)
    assert os.pread(target, len(data) + 1, 0) == data
    assert os.copy_file_range(source, target, 100, len(data), 0) == 0
    fails(errno.EINVAL, os.copy_file_range, source, source, 100, 0, 50)
    os.close(source)
    os.close(target)


def test_fallocate(mount):
    keep, punch, zero = 1, 2, 16
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

    def fallocate(fd, mode, offset, length):
        if libc.fallocate(fd, mode, offset, length) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    with open(mount / "f", "w+b", buffering=0) as file:
        file.write(b"x" * 100_000)
        fallocate(file.fileno(), punch | keep, 10_000, 50_000)
        expected = b"x" * 10_000 + bytes(50_000) + b"x" * 40_000
        assert os.pread(file.fileno(), 200_000, 0) == expected
        fallocate(file.fileno(), zero, 90_000, 20_000)
        assert os.fstat(file.fileno()).st_size == 110_000
        fallocate(file.fileno(), 0, 0, 120_000)
        assert os.fstat(file.fileno()).st_size == 120_000
        fails(errno.EOPNOTSUPP, fallocate, file.fileno(), 8, 0, 4096)


def test_holes(mount):
    """A block of 4 KiB has data or is a hole. ext4 gives the same answers."""
    with open(mount / "f", "w+b", buffering=0) as file:
        fd = file.fileno()
        file.truncate(200_000)
        for offset, data in (
            (100_000, b"data"),
            (102_000, b"in the same block"),
            (102_300, b"x" * 200),  # reaches into the next
            (106_497, b"x"),  # nearly a block further
            (199_000, b"data"),
        ):
            os.pwrite(fd, data, offset)
        os.fsync(fd)
        for offset in (0, 50_000, 53_248, 98_303, 110_592, 150_000):
            assert os.lseek(fd, offset, os.SEEK_HOLE) == offset
            data = 98_304 if offset < 100_000 else 196_608
            assert os.lseek(fd, offset, os.SEEK_DATA) == data
        for offset in (98_304, 100_000, 100_010, 102_400, 102_450, 106_495, 106_496, 110_591):
            assert os.lseek(fd, offset, os.SEEK_HOLE) == 110_592
            assert os.lseek(fd, offset, os.SEEK_DATA) == offset
        for offset in (196_608, 199_000, 199_999):
            assert os.lseek(fd, offset, os.SEEK_HOLE) == 200_000
            assert os.lseek(fd, offset, os.SEEK_DATA) == offset
        for whence in (os.SEEK_HOLE, os.SEEK_DATA):
            with pytest.raises(OSError) as caught:
                os.lseek(fd, 200_000, whence)
            assert caught.value.errno == errno.ENXIO
        os.ftruncate(fd, 300_000)
        assert os.lseek(fd, 199_999, os.SEEK_HOLE) == 200_704
        with pytest.raises(OSError) as caught:
            os.lseek(fd, 200_704, os.SEEK_DATA)
        assert caught.value.errno == errno.ENXIO


def test_mapping(mount):
    with open(mount / "f", "w+b", buffering=0) as file:
        file.write(bytes(3 * 4096))
        with mmap.mmap(file.fileno(), 0) as mapped:
            mapped[4096:4100] = b"seen"
            mapped.flush()
            assert os.pread(file.fileno(), 4, 4096) == b"seen"
            os.pwrite(file.fileno(), b"back", 100)
            assert mapped[100:104] == b"back"
            # What lies behind the new end is zeros, and a page that is wholly behind it SIGBUS.
            mapped[4200:4204] = b"tail"
            os.ftruncate(file.fileno(), 4150)
            assert mapped[4200:4204] == bytes(4)
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGBUS, signal.SIG_DFL)
                os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
                mapped[8192]
                os._exit(0)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGBUS


def test_extended_attributes(mount):
    (mount / "f").write_text("x")
    os.setxattr(mount / "f", "user.a", b"1")
    fails(errno.EEXIST, os.setxattr, mount / "f", "user.a", b"1", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, mount / "f", "user.b", b"1", os.XATTR_REPLACE)
    os.setxattr(mount / "f", "user.large", b"v" * 60_000)
    assert os.getxattr(mount / "f", "user.large") == b"v" * 60_000
    assert sorted(os.listxattr(mount / "f")) == ["user.a", "user.large"]
    os.removexattr(mount / "f", "user.a")
    fails(errno.ENODATA, os.getxattr, mount / "f", "user.a")


def test_special_files_and_links(mount):
    os.mkfifo(mount / "fifo")
    os.mknod(mount / "null", 0o666 | 0o020000, os.makedev(1, 3))
    with open(mount / "null", "wb") as null:
        null.write(b"gone")
    os.symlink("x" * 4000, mount / "link")
    assert os.readlink(mount / "link") == "x" * 4000
    text = b"\xff\xfe not utf-8"
    (mount.path / os.fsdecode(text)).write_bytes(b"")
    assert text in os.listdir(os.fsencode(mount.path))


class Dirent(ctypes.Structure):
    _fields_ = [
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    ]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.closedir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Stream:
    def __init__(self, path):
        self.stream = libc.opendir(os.fsencode(path))
        assert self.stream

    def next(self):
        found = libc.readdir(self.stream)
        return found.contents.name.decode() if found else None

    def all(self):
        return list(iter(self.next, None))

    def tell(self):
        return libc.telldir(self.stream)

    def seek(self, position):
        libc.seekdir(self.stream, position)

    def rewind(self):
        libc.rewinddir(self.stream)

    def close(self):
        libc.closedir(self.stream)


def make_files(folder, names):
    folder.mkdir(exist_ok=True)
    for name in names:
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))


def test_positions_in_directories_stay(mount):
    names = [f"{i:04d}" for i in range(0, 2000, 2)]
    folder = mount / "d"
    make_files(folder, names)
    stream = Stream(folder)
    places = {}
    while True:
        place = stream.tell()
        name = stream.next()
        if name is None:
            break
        places[name] = place
    assert sorted(places) == sorted([".", "..", *names])
    # Change what lies before, at and behind each place that is then gone to.
    make_files(folder, [f"{i:04d}" for i in range(1, 2000, 14)])
    removed = names[::3]
    for name in removed:
        os.unlink(folder / name)
    left = [name for name in names if name not in set(removed)]
    for at in (0, 5, 127, 128, 400, 999):
        stream.seek(places[names[at]])
        got = stream.all()
        stable = [name for name in left if name >= names[at]]
        assert [name for name in got if name in places] == stable
        assert len(set(got)) == len(got)
    stream.rewind()
    assert sorted(stream.all()) == sorted(os.listdir(folder) + [".", ".."])
    stream.close()


def test_removing_while_listing(mount):
    names = [f"file-{i}" for i in range(1500)]
    make_files(mount / "d", names)
    seen = []
    with os.scandir(mount / "d") as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert sorted(seen) == sorted(names)
    os.rmdir(mount / "d")


def test_listing_tells_attributes(mount):
    make_files(mount / "d", [f"f{i}" for i in range(300)])
    before = mount.stats()
    listed = subprocess.run(
        ["ls", "-l", mount / "d"], check=True, capture_output=True
    ).stdout.splitlines()
    after = mount.stats()
    assert len(listed) == 301
    assert after["op_readdirplus"] > before["op_readdirplus"]
    assert after["op_lookup"] - before["op_lookup"] < 30


def test_many_in_one_directory(mount):
    (mount / "d").mkdir()

    def work(number):
        for i in range(150):
            path = mount / "d" / f"{number}-{i}"
            path.write_text(str(i))
            os.rename(path, mount / "d" / f"{number}={i}")
            if i % 2:
                os.unlink(mount / "d" / f"{number}={i}")

    in_children(*[lambda n=n: work(n) for n in range(4)])
    assert len(os.listdir(mount / "d")) == 4 * 75


@contextlib.contextmanager
def no_commits(url):
    """No commit of a mount gets through."""
    if not url.startswith("sqlite:"):
        pytest.skip("SQLite's file is what is locked")
    database = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


@contextlib.contextmanager
def no_reads(url):
    """Nobody gets one of the locks of readers, the bytes 123 to 127 of SQLite's shared memory."""
    if not url.startswith("sqlite:"):
        pytest.skip("SQLite's shared memory is what is locked")
    with open(url.removeprefix("sqlite://") + "-shm", "r+b") as shared:
        lock = struct.pack("hhqqhh", fcntl.F_WRLCK, os.SEEK_SET, 123, 5, 0, 0)
        fcntl.fcntl(shared, 38, lock)  # F_OFD_SETLKW
        yield


def in_program(code, **names):
    """A program that makes a system call and tells the errno; it is about to when this returns."""
    setting = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    program = subprocess.Popen([sys.executable, "-c", f"""
import ctypes, errno, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
def handle(number, again):
    signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, True)
    if number == signal.SIGALRM: signal.setitimer(signal.ITIMER_REAL, 0.2, again)
def ready(): os.close(1)
{setting}{code}
"""], stdout=subprocess.PIPE)
    with program.stdout as told:
        assert told.read() == b""
    return program


def test_handled_signals_do_not_end_calls_that_change_something(url, mount):
    (mount / "f").write_bytes(b"x" * 100_000)
    with no_commits(url):
        blocked = [
            in_program("""
handle(signal.SIGALRM, 0.1)
ready()
os._exit(0 if libc.mkdir(path, 0o755) == 0 else ctypes.get_errno())
""", path=os.fsencode(mount / "d")),
            in_program("""
handle(signal.SIGALRM, 0.1)
fd = os.open(path, os.O_WRONLY)
os.pwrite(fd, b"y", 0)
ready()
os._exit(0 if libc.fsync(fd) == 0 and libc.close(fd) == 0 else ctypes.get_errno())
""", path=os.fsencode(mount / "f")),
        ]
        time.sleep(1.5)
        assert [each.poll() for each in blocked] == [None, None]
    assert [each.wait(20) for each in blocked] == [0, 0]
    assert (mount / "d").is_dir()
    assert (mount / "f").read_bytes()[:2] == b"yx"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_who_waits_can_be_killed(url, mount, number):
    for folder in "ab":  # the kernel lets one at a time change a directory
        (mount / folder).mkdir()
    (mount / "f").write_bytes(b"x")
    with no_commits(url):
        plain = in_program("signal.signal(signal.SIGINT, signal.SIG_DFL)\nready()\n"
                           "libc.mkdir(path, 0o755)",
                           path=os.fsencode(mount / "a" / "d"))
        # The kernel tells of the first signal alone, which does not end the call.
        alarmed = in_program("signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
                             "handle(signal.SIGALRM, 0)\nready()\nlibc.mkdir(path, 0o755)",
                             path=os.fsencode(mount / "b" / "d"))
        # What it has written is still to be stored when its files are closed.
        syncing = in_program("signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
                             "fd = os.open(path, os.O_WRONLY)\nos.pwrite(fd, b'y', 0)\n"
                             "ready()\nlibc.fsync(fd)", path=os.fsencode(mount / "f"))
        time.sleep(1)
        blocked = (plain, alarmed, syncing)
        assert [each.poll() for each in blocked] == [None] * 3
        for each in blocked:
            each.send_signal(number)
            assert each.wait(30) == -number
    wait_until(lambda: skerry("cat", url, "/f") == "y", what="what it had written")
    (mount / "c").mkdir()
    assert [list(below) for _, *below in sorted(os.walk(mount.path))] == [
        [["a", "b", "c"], ["f"]], [[], []], [[], []], [[], []]]


def test_who_only_asks_may_give_up(url, mount):
    with no_reads(url):
        asking = in_program("""
handle(signal.SIGINT, 0)
handle(signal.SIGALRM, 0.1)
ready()
began = time.monotonic()
assert libc.access(path, 0) == -1
os._exit(ctypes.get_errno() if time.monotonic() - began > 0.9 else 1)
""", path=os.fsencode(mount / "nothing"))
        time.sleep(0.6)
        assert asking.poll() is None
        asking.send_signal(signal.SIGINT)
        assert asking.wait(40) == errno.EINTR  # SQLite itself waits up to ten seconds
    assert not (mount / "nothing").exists()
