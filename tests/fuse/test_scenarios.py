"""Sharp cases of shared file systems, each with what POSIX expects, on mounts."""

import contextlib
import errno
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from mounts import ROOT, Mount, in_children, is_mounted, skerry, wait_until

sys.path.insert(0, str(ROOT / "bindings" / "python"))
os.environ.setdefault("SKERRY_LIBRARY", str(ROOT / "build" / "lib" / "libskerry.so"))
import skerry as library  # noqa: E402



def objects(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file()
                  and "chunks" in path.parts)


@pytest.mark.format("--session-expiry", "5s")
def test_an_unlinked_file_of_a_killed_mount(doomed, mounted, tmp_path):
    """Row 2: it works until the last close, and its space comes back when the session is over."""
    killed, alive = doomed(), mounted()
    data = tmp_path / "volume" / "vol.db.data"
    fd = os.open(killed / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"a" * 300_000)
    os.fsync(fd)
    wait_until((alive / "f").exists)
    os.unlink(alive / "f")
    os.pwrite(fd, b"b" * 100_000, 300_000)
    os.fsync(fd)
    assert os.pread(fd, 10, 0) + os.pread(fd, 10, 399_990) == b"a" * 10 + b"b" * 10
    assert objects(data)
    killed.process.kill()
    killed.process.wait()
    with contextlib.suppress(OSError):
        os.close(fd)
    killed.end()
    wait_until(lambda: objects(data) == [], seconds=90, what="the space of the file")


@pytest.mark.parametrize("buffered", [100_000, 6_000_000])
def test_a_full_disk_is_told_by_fsync_and_close(tmp_path, small_disk, buffered):
    """Row 6: never a clean close of what was not stored; each descriptor is told; then it heals."""
    url = f"sqlite://{tmp_path}/full.db"
    skerry("format", url, "--storage", f"file://{small_disk}/data")
    mount = Mount(url, tmp_path / "point")
    try:
        ballast = small_disk / "ballast"
        one = os.open(mount / "f", os.O_RDWR | os.O_CREAT)
        two = os.open(mount / "f", os.O_RDWR)
        with open(ballast, "wb") as file, pytest.raises(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        data = os.urandom(buffered)
        written = os.write(one, data)
        codes = []
        for action in (os.fsync, os.fsync):
            try:
                action(one)
            except OSError as error:
                codes.append(error.errno)
        assert codes == [errno.ENOSPC] * 2
        with pytest.raises(OSError) as caught:
            os.close(os.dup(one))
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as caught:
            os.fsync(two)
        assert caught.value.errno == errno.ENOSPC
        assert os.pread(two, 10, 0) == data[:10]
        ballast.unlink()
        os.fsync(one)
        os.fsync(two)
        os.close(two)
        os.close(one)
        assert (mount / "f").read_bytes() == data[:written]
    finally:
        mount.end()
    assert skerry("fsck", url, "--check-data") == ""


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(4096))
    os.close(fd)


@pytest.mark.parametrize("where,seconds", [("database", 0), ("database and objects", 7)])
def test_a_full_disk_of_the_database(tmp_path, small_disk, where, seconds):
    """Nothing changes that cannot be noted, and all is told; then it heals, even where the mount's
    session has expired meanwhile for want of space."""
    url = f"sqlite://{small_disk}/full.db"
    data = tmp_path if where == "database" else small_disk
    skerry("format", url, "--storage", f"file://{data}/data", "--session-expiry", "5s")
    mount = Mount(url, tmp_path / "point")
    one = two = -1
    try:
        (mount / "before").write_bytes(b"kept")
        one = os.open(mount / "f", os.O_RDWR | os.O_CREAT)
        two = os.open(mount / "f", os.O_RDWR)
        fill(small_disk / "ballast")
        # SQLite's log may have some room left.
        with pytest.raises(OSError) as caught:
            for i in range(10_000):
                (mount / f"fill{i}").touch()
        assert caught.value.errno == errno.ENOSPC
        refused = {
            "create": lambda: (mount / "new").touch(),
            "mkdir": lambda: os.mkdir(mount / "d"),
            "symlink": lambda: os.symlink("a", mount / "link"),
            "rename": lambda: os.rename(mount / "before", mount / "after"),
            "link": lambda: os.link(mount / "before", mount / "after"),
            "chmod": lambda: os.chmod(mount / "before", 0o600),
            "truncate": lambda: os.truncate(mount / "before", 1),
            "setxattr": lambda: os.setxattr(mount / "before", "user.a", b"1"),
        }
        for name, action in refused.items():
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno == errno.ENOSPC, name
        data = os.urandom(3_000_000)
        written = os.write(one, data)
        told = (lambda: os.fsync(one), lambda: os.close(os.dup(one)), lambda: os.fsync(two))
        for tell in told * 2:
            with pytest.raises(OSError) as caught:
                tell()
            assert caught.value.errno == errno.ENOSPC
        assert os.pread(two, 10, 0) == data[:10]
        assert (mount / "before").read_bytes() == b"kept"
        time.sleep(seconds)
        (small_disk / "ballast").unlink()
        os.fsync(one)
        os.fsync(two)
        os.rename(mount / "before", mount / "after")
        os.close(two)
        os.close(one)
        assert (mount / "f").read_bytes() == data[:written]
        assert (mount / "after").read_bytes() == b"kept"
    finally:
        for fd in (one, two):
            with contextlib.suppress(OSError):
                os.close(fd)
        mount.end()
    assert skerry("fsck", url, "--check-data") == ""


@pytest.mark.parametrize("damage", ["flipped", "cut", "swapped", "gone"])
def test_damaged_objects_are_errors(url, tmp_path, damage):
    """Row 7: never wrong bytes."""
    mount = Mount(url, tmp_path / "point")
    contents = {name: os.urandom(200_000) for name in "ab"}
    for name, data in contents.items():
        (mount / name).write_bytes(data)
    mount.end()
    first, second = objects(tmp_path / "volume" / "vol.db.data")
    one, two = first.read_bytes(), second.read_bytes()
    if damage == "flipped":
        first.write_bytes(one[:70_000] + bytes([one[70_000] ^ 1]) + one[70_001:])
    elif damage == "cut":
        first.write_bytes(one[:100_000])
    elif damage == "swapped":
        first.write_bytes(two)
        second.write_bytes(one)
    else:
        first.unlink()
    mount = Mount(url, tmp_path / "point")
    results = []
    for name, data in contents.items():
        try:
            assert (mount / name).read_bytes() == data
            results.append(0)
        except OSError as error:
            results.append(error.errno)
    said = mount.end()
    assert damage == "gone" or "object" in said
    assert sorted(results) == ([errno.EIO] * 2 if damage == "swapped" else [0, errno.EIO])
    assert not is_mounted(mount.path)


def test_who_waits_for_a_store_that_hangs_can_be_killed(tmp_path):
    """Row 17: its objects lie on another mount, which is stopped."""
    lower = f"sqlite://{tmp_path}/lower.db"
    url = f"sqlite://{tmp_path}/upper.db"
    skerry("format", lower)
    below = Mount(lower, tmp_path / "below")
    above = None
    try:
        skerry("format", url, "--storage", f"file://{below.path}/data")
        (tmp_path / "local").write_bytes(os.urandom(4 << 20))
        skerry("put", url, tmp_path / "local", "/f")
        for path in objects(below.path / "data"):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        above = Mount(url, tmp_path / "above")
        os.listdir(above.path)
        below.process.send_signal(signal.SIGSTOP)
        readers = [subprocess.Popen(["cat", above / "f"], stdout=subprocess.DEVNULL)
                   for _ in range(2)]
        time.sleep(1)
        assert [reader.poll() for reader in readers] == [None, None]
        for reader, number in zip(readers, (signal.SIGINT, signal.SIGKILL)):
            reader.send_signal(number)
            assert reader.wait(30) == -number
        below.process.send_signal(signal.SIGCONT)
        assert (above / "f").read_bytes() == (tmp_path / "local").read_bytes()
    finally:
        below.process.send_signal(signal.SIGCONT)
        if above is not None:
            above.end()
        below.end()


def test_a_mount_killed_under_load(url, tmp_path):
    """What was closed or synced is there, whole; the next mount serves it."""
    promised = tmp_path / "promised"
    for turn in range(3):
        mount = Mount(url, tmp_path / "point")
        # Names are relative to the mount's root: once unmounted, the path is the folder beneath.
        root = os.open(mount.path, os.O_DIRECTORY)
        children = []
        for worker in range(3):
            child = os.fork()
            if child == 0:
                chance = random.Random(turn * 10 + worker)
                log = os.open(f"{promised}-{worker}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                create = lambda path, flags: os.open(path, flags, 0o644, dir_fd=root)  # noqa: E731
                try:
                    for i in range(10**6):
                        name = f"{turn}-{worker}-{i}"
                        size = chance.choice([10, 3000, 20_000, 400_000])
                        with open(name, "wb", opener=create) as file:
                            file.write(name.encode().ljust(16) * (size // 16))
                        if i % 3 == 2:
                            moved = f"{name}-moved"
                            os.rename(name, moved, src_dir_fd=root, dst_dir_fd=root)
                            name = moved
                        os.write(log, f"{name} {size // 16 * 16}\n".encode())
                except OSError:
                    pass
                os._exit(0)
            children.append(child)
        os.close(root)
        time.sleep(1.5)
        mount.process.kill()
        mount.end()
        for child in children:
            os.waitpid(child, 0)
    mount = Mount(url, tmp_path / "point")
    count = 0
    for worker in range(3):
        for line in pathlib.Path(f"{promised}-{worker}").read_text().splitlines():
            name, size = line.split()
            data = (mount / name).read_bytes()
            assert len(data) == int(size)
            assert data == name.removesuffix("-moved").encode().ljust(16) * (len(data) // 16)
            count += 1
    assert count > 20
    mount.end()
    assert skerry("fsck", url, "--check-data") == ""


def test_names_are_bytes(two):
    a, b = map(lambda mount: os.fsencode(mount.path), two)
    names = [b"\xff\xfe", b"a\nb", b"\xc3", b" ", b"\x01", "\u00e9".encode(), "e\u0301".encode(),
             b"x" * 255, b"\\", b"'\"`", b"..."]
    for name in names:
        with open(os.path.join(a, name), "wb") as file:
            file.write(name)
    assert sorted(os.listdir(b)) == sorted(names)
    for name in names:
        with open(os.path.join(b, name), "rb") as file:
            assert file.read() == name
        os.rename(os.path.join(b, name), os.path.join(b, name[:250] + b"\xf0"))
    assert sorted(os.listdir(a)) == sorted(name[:250] + b"\xf0" for name in names)
    with pytest.raises(OSError) as caught:
        os.stat(os.path.join(a, b"\xff" * 256))
    assert caught.value.errno == errno.ENAMETOOLONG


def test_100000_entries_removed_while_they_are_listed(url, mounted):
    with library.Volume(url) as volume:
        volume.mkdir("/d")
        names = [f"{i:06}" for i in range(100_000)]
        random.Random(1).shuffle(names)
        for start in range(0, len(names), 5000):
            volume.write_many((f"/d/{name}", b"") for name in names[start:start + 5000])
        mount = mounted()
        stays = {name for name in names if int(name) % 50 == 0}

        def remove():
            with library.Volume(url) as own:
                for name in names:
                    if name not in stays:
                        own.unlink(f"/d/{name}")

        def list_again_and_again():
            seen = []
            while len(seen) != len(stays):
                seen = os.listdir(mount / "d")
                assert len(set(seen)) == len(seen)
                assert stays <= set(seen)

        in_children(remove, list_again_and_again)
        assert set(os.listdir(mount / "d")) == stays


def test_a_sparse_file_of_1_TiB(tmp_path, mount):
    size = 1 << 40
    with open(mount / "f", "w+b", buffering=0) as file:
        os.ftruncate(file.fileno(), size)
        places = [0, 64 << 20, (300 << 30) + 5000, size - 4]
        for place in places:
            os.pwrite(file.fileno(), b"here", place)
        os.fsync(file.fileno())
        assert os.fstat(file.fileno()).st_size == size
        for place in places:
            around = max(place - 8192, 0)
            data = os.pread(file.fileno(), 16384, around)
            assert data.strip(b"\0") == b"here"
            assert data.index(b"here") == place - around
        assert os.pread(file.fileno(), 1 << 20, 200 << 30) == bytes(1 << 20)
        found, at = [], 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                break
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            found.append(range(at, end))
            at = end
        for place in places:
            assert any(place in piece and place + 3 in piece for piece in found)
        assert sum(map(len, found)) < 1 << 30
        os.ftruncate(file.fileno(), size // 2)
        os.ftruncate(file.fileno(), size)
        assert os.pread(file.fileno(), 4, size - 4) == bytes(4)
    stored = sum(path.stat().st_size for path in objects(tmp_path / "volume" / "vol.db.data"))
    assert stored < 1 << 20
