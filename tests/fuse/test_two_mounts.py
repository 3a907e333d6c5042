"""What two mounts of one volume see of each other."""

import errno
import mmap
import os
import shutil
import signal
import stat
import subprocess
import time

import pytest

from mounts import (
    EXCHANGE,
    NOREPLACE,
    PROGRAM,
    as_nobody,
    in_children,
    renameat2,
    skerry,
    wait_until,
)


def overwrite(path, data):
    """New bytes of the same length, with the times put back: only the version tells."""
    before = os.stat(path)
    with open(path, "r+b", buffering=0) as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("size", [100, 300_000])
def test_pages_are_kept_until_another_mount_changes_the_file(mounted, size):
    a, b = mounted(), mounted()
    data = os.urandom(size)
    (a / "f").write_bytes(data)
    assert (a / "f").read_bytes() == data

    def requests(mount):
        return mount.stats()["op_read"]

    # Own writes stay in the page cache, whether the file was closed or not.
    before = requests(a)
    for _ in range(3):
        assert (a / "f").read_bytes() == data
    with open(a / "f", "r+b") as file:
        file.write(b"own")
    data = b"own" + data[3:]
    assert (a / "f").read_bytes() == data
    # So do they where something else of the file is changed than its bytes.
    for change, name in (
        (lambda: os.chmod(a / "f", 0o600), "f"),
        (lambda: os.setxattr(a / "f", "user.a", b"1"), "f"),
        (lambda: os.removexattr(a / "f", "user.a"), "f"),
        (lambda: subprocess.run(["setfacl", "-m", "u:7:r", a / "f"], check=True), "f"),
        (lambda: os.link(a / "f", a / "g"), "f"),
        (lambda: os.unlink(a / "f"), "g"),
        (lambda: os.rename(a / "g", a / "h"), "h"),
        (lambda: (a / "f").write_bytes(b"replaced"), "h"),
        (lambda: os.rename(a / "h", a / "f"), "f"),
    ):
        change()
        assert (a / name).read_bytes() == data
    assert requests(a) == before

    assert (b / "f").read_bytes() == data
    changed = os.urandom(size)
    overwrite(b / "f", changed)
    assert (a / "f").read_bytes() == changed
    assert requests(a) > before
    assert (b / "f").read_bytes() == changed


def test_long_open_files_see_changes(mounted):
    a, b = mounted(), mounted()
    (a / "f").write_bytes(b"a" * 10_000)
    with open(a / "f", "rb", buffering=0) as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert file.read(5) == mapped[:5] == b"aaaaa"
            overwrite(b / "f", b"b" * 10_000)
            wait_until(lambda: os.pread(file.fileno(), 5, 0) == b"bbbbb", what="the new bytes")
            wait_until(lambda: mapped[9_000:9_005] == b"bbbbb", what="the mapping")
        with open(b / "f", "ab") as other:
            other.write(b"tail")
        wait_until(lambda: os.fstat(file.fileno()).st_size == 10_004, what="the new length")
        assert os.pread(file.fileno(), 100, 9_998) == b"bbtail"


def test_names_and_attributes_within_their_timeouts(mounted):
    a, b = mounted("negative_timeout=1"), mounted()
    assert not (a / "f").exists()
    (b / "f").write_text("x")
    wait_until(lambda: (a / "f").exists(), what="the name")
    os.chmod(b / "f", 0o600)
    wait_until(lambda: os.stat(a / "f").st_mode & 0o777 == 0o600, what="the mode")
    os.rename(b / "f", b / "g")
    wait_until(lambda: not (a / "f").exists(), what="the name to go")
    assert (a / "g").read_text() == "x"


def test_unlinked_on_the_other_mount_while_open(url, two):
    a, b = two
    data = os.urandom(200_000)
    (a / "f").write_bytes(data)
    with open(a / "f", "r+b", buffering=0) as file:
        assert file.read(10) == data[:10]
        os.unlink(b / "f")
        assert not (a / "f").exists()
        skerry("gc", url)
        assert os.pread(file.fileno(), len(data), 0) == data
        os.pwrite(file.fileno(), b"more", len(data))
        os.fsync(file.fileno())
        skerry("gc", url)
        assert os.pread(file.fileno(), 100, len(data)) == b"more"
        assert os.fstat(file.fileno()).st_nlink == 0
    # Nothing of it is in any memory of the mount that has it open.
    (b / "g").write_bytes(data)
    with open(a / "g", "rb", buffering=0) as file:
        os.unlink(b / "g")
        skerry("gc", url)
        assert os.pread(file.fileno(), len(data), 0) == data


def test_replaced_and_truncated_on_the_other_mount_while_open(two):
    a, b = two
    (a / "f").write_bytes(b"old" * 50_000)
    with open(a / "f", "rb", buffering=0) as file:
        file.read(10)
        (b / "g").write_bytes(b"new")
        os.rename(b / "g", b / "f")
        assert (a / "f").read_bytes() == b"new"
        assert os.pread(file.fileno(), 6, 90_000) == b"oldold"
    with open(a / "f", "rb", buffering=0) as file:
        os.truncate(b / "f", 1)
        assert os.fstat(file.fileno()).st_size == 1
        assert os.pread(file.fileno(), 100, 0) == b"n"


def test_a_replaced_name_is_looked_up_again(mounted):
    # Names are trusted for a minute: only ESTALE makes the kernel look again.
    a, b = mounted("entry_timeout=60,attr_timeout=60"), mounted()
    (a / "d").mkdir()
    (a / "d" / "f").write_text("old")
    assert (a / "d" / "f").read_text() == "old"
    (b / "g").write_text("new")
    os.rename(b / "g", b / "d" / "f")
    wait_until(lambda: b.stats()["op_rename"] == 1)
    assert (a / "d" / "f").read_text() == "new"


def test_a_replaced_directory_is_looked_up_again(url, mounted):
    strict = "" if url.startswith("sqlite:") else ",consistency=strict"
    a, b = mounted(f"entry_timeout=60,attr_timeout=60{strict}"), mounted()
    (a / "d").mkdir()
    (a / "d" / "f").write_text("old")
    shutil.rmtree(b / "d")
    (b / "d").mkdir()
    (b / "d" / "x").write_text("other directory")
    assert (a / "d" / "x").read_text() == "other directory"
    (a / "d" / "y").write_text("made in it")
    assert sorted(os.listdir(b / "d")) == ["x", "y"]

    shutil.rmtree(b / "d")
    with pytest.raises(OSError) as caught:
        (a / "d" / "z").write_text("nowhere")
    assert caught.value.errno == errno.ENOENT


def test_appends_from_two_mounts_are_whole(two_cached):
    a, b = two_cached
    count = 150

    def append(mount, mark):
        with open(mount / "log", "ab", buffering=0) as log:
            for i in range(count):
                log.write(b"%s %06d %s\n" % (mark, i, mark * (i % 90)))

    # Somebody has the pages, and a place for the records in mind.
    (a / "log").write_bytes(b"")
    in_children(*[lambda m=m, x=x: append(m, x) for m, x in ((a, b"A"), (b, b"B"), (a, b"C"))])
    for mount in (a, b):
        lines = (mount / "log").read_bytes().splitlines()
        assert len(lines) == 3 * count
        for mark in (b"A", b"B", b"C"):
            own = [line for line in lines if line.startswith(mark)]
            assert own == [b"%s %06d %s" % (mark, i, mark * (i % 90)) for i in range(count)]


@pytest.mark.parametrize("kind", ["create", "mkdir", "link", "noreplace"])
def test_one_winner(two_cached, kind, tmp_path):
    rounds, workers = 1000, 8
    results = tmp_path / "results"
    results.mkdir()

    def attempt(mount, me, target):
        if kind == "create":
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        elif kind == "mkdir":
            os.mkdir(target)
        elif kind == "link":
            os.link(mount / f"source{me}", target)
        else:
            (mount / f"mine{me}").write_text("x")
            renameat2(mount / f"mine{me}", target, NOREPLACE)

    def compete(mount, me):
        (mount / f"source{me}").write_text("x")
        won = []
        for i in range(rounds):
            try:
                attempt(mount, me, mount / f"lock{i}")
                won.append(i)
            except FileExistsError:
                pass
        (results / str(me)).write_text(" ".join(map(str, won)))

    in_children(*[lambda n=n: compete(two_cached[n % 2], n) for n in range(workers)])
    winners = [int(i) for file in results.iterdir() for i in file.read_text().split()]
    assert sorted(winners) == list(range(rounds))


def test_crossing_renames_detach_nothing(url, two_cached):
    for name in ("a/x", "b/y"):
        (two_cached[0] / name).mkdir(parents=True)

    def move(mount, source, target):
        for _ in range(100):
            for origin, goal in ((source, target), (target, source)):
                try:
                    os.rename(mount / origin, mount / goal)
                except OSError as error:
                    assert error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTEMPTY), error

    # a into b and b into a: whichever comes second must be refused.
    in_children(
        lambda: move(two_cached[0], "a", "b/y/a"),
        lambda: move(two_cached[1], "b", "a/x/b"),
    )

    def found():
        return {name for _, folders, _ in os.walk(two_cached[0].path) for name in folders}

    wait_until(lambda: found() == {"a", "b", "x", "y"}, what="all directories")
    assert skerry("fsck", url) == ""


def test_nothing_enters_a_removed_directory(url, two_cached):
    (two_cached[0] / "p").mkdir()

    def create():
        for i in range(150):
            for action in (
                lambda: os.mkdir(two_cached[0] / "p" / "d"),
                lambda: os.close(os.open(two_cached[0] / "p" / f"f{i}", os.O_CREAT | os.O_WRONLY)),
            ):
                try:
                    action()
                except (FileNotFoundError, FileExistsError):
                    pass
                except OSError as error:
                    assert error.errno == errno.ESTALE, error

    def remove():
        for _ in range(150):
            try:
                os.rmdir(two_cached[1] / "p")
            except OSError as error:
                assert error.errno in (errno.ENOTEMPTY, errno.ENOENT), error
                for name in os.listdir(two_cached[1] / "p") if (two_cached[1] / "p").exists() else ():
                    path = two_cached[1] / "p" / name
                    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
            else:
                os.mkdir(two_cached[1] / "p")

    in_children(create, remove)
    assert skerry("fsck", url) == ""


def test_compaction_under_readers_and_writers(url, two):
    a, b = two
    size = 400_000
    (a / "f").write_bytes(b"0" * size)

    def write():
        with open(b / "f", "r+b", buffering=0) as file:
            for i in range(60):
                os.pwrite(file.fileno(), b"%d" % (i % 10) * 4096, i * 6000)
                os.fsync(file.fileno())

    def read():
        with open(a / "f", "rb", buffering=0) as file:
            for _ in range(60):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                data = os.pread(file.fileno(), size, 0)
                assert len(data) == size and data.strip(b"0123456789") == b""

    def compact():
        for _ in range(6):
            subprocess.run([PROGRAM, "compact", url, "/f"], check=True, timeout=60)
            time.sleep(0.05)

    in_children(write, read, compact)


def test_listing_while_the_other_mount_changes_the_directory(two):
    a, b = two
    stable = {f"stable-{i:04d}" for i in range(600)}
    (a / "d").mkdir()
    for name in stable:
        (a / "d" / name).touch()

    def churn():
        for i in range(150):
            path = b / "d" / f"{'az'[i % 2]}-{i}"
            path.touch()
            if i >= 20:
                (b / "d" / f"{'az'[i % 2]}-{i - 20}").unlink()

    def watch():
        for _ in range(15):
            names = os.listdir(a / "d")
            assert len(set(names)) == len(names)
            assert stable <= set(names)

    in_children(churn, watch)


def test_exchanges_are_atomic(two):
    """Each name leads somewhere at any time, and directories count what is in them."""
    a, b = two
    for name in "pq":
        (a / name).mkdir()
    (a / "p" / "x").mkdir()
    (a / "q" / "x").write_text("file")

    def stale_at_most(action, *arguments):
        """The kernel gives up by itself where it meets a moved directory twice in one call."""
        try:
            action(*arguments)
        except OSError as error:
            assert error.errno == errno.ESTALE, error

    def exchange(mount):
        for _ in range(120):
            stale_at_most(renameat2, mount / "p" / "x", mount / "q" / "x", EXCHANGE)

    def look(mount):
        for _ in range(300):
            for name in "pq":
                stale_at_most(os.stat, mount / name / "x")

    in_children(lambda: exchange(a), lambda: exchange(b), lambda: look(a), lambda: look(b))
    for mount in two:
        kinds = {name: (mount / name / "x").is_dir() for name in "pq"}
        assert sorted(kinds.values()) == [False, True]
        for name, holds_directory in kinds.items():
            assert os.stat(mount / name).st_nlink == 2 + holds_directory
            assert os.listdir(mount / name) == ["x"]


def test_renaming_what_the_other_mount_made(two):
    a, b = two
    (a / "f").write_text("f")
    os.link(a / "f", a / "twin")
    os.rename(b / "f", b / "twin")
    assert sorted(os.listdir(a.path)) == ["f", "twin"]
    assert os.stat(a / "f").st_nlink == 2
    (a / "d" / "sub").mkdir(parents=True)
    (a / "e").mkdir()
    for source, target, code in (
        ("e", "d", errno.ENOTEMPTY), ("f", "e", errno.EISDIR), ("e", "f", errno.ENOTDIR),
        ("d", "d/sub/x", errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            os.rename(b / source, b / target)
        assert caught.value.errno == code


def test_copies_see_both_mounts_writes(two):
    a, b = two
    (a / "f").write_bytes(b"." * 300_000)
    with open(a / "f", "r+b", buffering=0) as file, open(a / "g", "w+b", buffering=0) as copy:
        os.pread(file.fileno(), 300_000, 0)
        with open(b / "f", "r+b") as other:
            other.seek(100_000)
            other.write(b"there")
        os.pwrite(file.fileno(), b"here", 200_000)  # not flushed
        expected = b"." * 100_000 + b"there" + b"." * 99_995 + b"here" + b"." * 99_996
        assert os.copy_file_range(file.fileno(), copy.fileno(), 1 << 20, 0, 0) == 300_000
        assert os.copy_file_range(file.fileno(), copy.fileno(), 100, 300_000, 0) == 0
    assert (b / "g").read_bytes() == (b / "f").read_bytes() == expected


def test_a_mapping_of_what_the_other_mount_cuts(two):
    a, b = two
    (a / "f").write_bytes(b"x" * 12_288)
    with open(a / "f", "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000:5004] = b"seen"
        mapped.flush()
        os.fsync(file.fileno())
        assert (b / "f").read_bytes()[5000:5004] == b"seen"
        os.truncate(b / "f", 4150)
        wait_until(lambda: mapped[4200:4204] == bytes(4), what="zeros behind the new end")

        def touches_the_last_page():
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGBUS, signal.SIG_DFL)
                os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
                mapped[8192]
                os._exit(0)
            return os.waitpid(child, 0)[1]

        wait_until(lambda: os.fstat(file.fileno()).st_size == 4150, what="the new length")
        assert os.WTERMSIG(touches_the_last_page()) == signal.SIGBUS


def test_permissions_hold_on_both_mounts(two):
    a, b = two
    file, shared = a / "f", a / "shared"
    file.write_text("x")
    os.chmod(file, 0o6777)
    assert as_nobody((b / "f").write_text, "y") == 0
    assert os.stat(file).st_mode & 0o7777 == 0o777
    shared.mkdir()
    os.chown(shared, 0, 4711)
    os.chmod(shared, 0o3777)
    assert as_nobody((b / "shared" / "theirs").write_text, "x") == 0
    (b / "shared" / "d").mkdir()
    for name in ("theirs", "d"):
        assert os.stat(shared / name).st_gid == 4711
    assert os.stat(shared / "d").st_mode & stat.S_ISGID
    (a / "shared" / "ours").write_text("x")
    assert as_nobody(os.unlink, b / "shared" / "ours") == errno.EPERM
    assert as_nobody(os.rename, b / "shared" / "ours", b / "shared" / "mine") == errno.EPERM
    assert as_nobody(os.unlink, b / "shared" / "theirs") == 0


def test_usage_is_one(two):
    a, b = two

    def used():
        return [(v.f_blocks - v.f_bfree, v.f_files - v.f_ffree)
                for v in (os.statvfs(mount.path) for mount in two)]

    (empty,) = set(used())
    (a / "f").write_bytes(os.urandom(1 << 20))
    os.link(b / "f", b / "g")
    (full,) = set(used())
    assert (full[0] - empty[0], full[1] - empty[1]) == ((1 << 20) // 4096, 1)
    os.unlink(b / "f")
    assert set(used()) == {full}
    os.unlink(a / "g")
    assert set(used()) == {empty}
