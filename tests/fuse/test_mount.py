"""Mounting, options, ending."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from mounts import (
    FUSE_PROGRAM,
    HELPER,
    NOBODY,
    PROGRAM,
    Mount,
    as_nobody,
    is_mounted,
    skerry,
    wait_until,
)


def line_of(directory):
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1] == str(directory):
            return line.split()
    return None


def test_daemon_is_usable_when_the_command_returns_and_gone_after_umount(url, tmp_path):
    point = tmp_path / "point"
    point.mkdir()
    skerry("mount", url, point, "-o", "cache_size=8M")
    (point / "f").write_text("x")
    source, _, kind, options = line_of(point)[:4]
    assert (source, kind) == (url, "fuse.skerry")
    assert "default_permissions" in options.split(",")
    pid = json.loads((point / ".skerry" / "config").read_text())["mount"]["pid"]
    skerry("umount", point)
    assert not is_mounted(point)
    # The process is gone, or a zombie that init has not buried yet.
    status = pathlib.Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().split(")")[1].split()[0] == "Z"
    assert skerry("cat", url, "/f") == "x"
    assert "no Skerry volume" in subprocess.run(
        [PROGRAM, "umount", point], capture_output=True
    ).stderr.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_unmount_and_keep_what_was_written(url, tmp_path, number):
    mount = Mount(url, tmp_path / "point")
    with open(mount / "f", "w") as file:
        file.write("closed")
    mount.process.send_signal(number)
    assert mount.process.wait(20) == 0
    assert not is_mounted(mount.path)
    assert skerry("cat", url, "/f") == "closed"
    assert skerry("fsck", url) == ""
    mount.end()


def test_a_killed_mount_leaves_the_volume_sound(url, tmp_path):
    mount = Mount(url, tmp_path / "point")
    (mount / "f").write_text("closed")
    mount.process.kill()
    mount.process.wait()
    with pytest.raises(OSError) as caught:
        os.listdir(mount.path)
    assert caught.value.errno == errno.ENOTCONN
    mount.end()
    assert skerry("cat", url, "/f") == "closed"
    assert skerry("fsck", url) == ""


def test_failures_are_told_and_leave_nothing(url, tmp_path):
    point = tmp_path / "point"
    point.mkdir()

    def fails(status, *arguments):
        result = subprocess.run(
            [FUSE_PROGRAM, *map(str, arguments)], capture_output=True, timeout=60
        )
        assert result.returncode == status, result
        assert not is_mounted(point)
        return result.stderr.decode()

    assert "vol2.db" in fails(1, f"sqlite://{tmp_path}/vol2.db", point)
    assert "absent" in fails(1, url, tmp_path / "absent")
    assert "not a directory" in fails(1, url, tmp_path / "volume" / "vol.db")
    assert "no such option" in fails(2, "-o", "ro,nonsense", url, point)
    assert "writeback_cache" in fails(2, "-o", "writeback_cache,no_default_permissions", url, point)
    assert "attr_timeout" in fails(2, "-o", "attr_timeout=x", url, point)
    assert "nonsense" in fails(1, "-o", "nonsense=1", url, point)
    assert "none" in fails(1, "-o", "subdir=/none", url, point)
    assert "META_URL and DIR" in fails(2, url)


def test_fstab_helper(url, tmp_path):
    point = tmp_path / "point"
    point.mkdir()
    # As mount(8) calls it for a line of /etc/fstab.
    options = "rw,noatime,_netdev,nofail,x-systemd.automount,allow_other,nosuid,cache_size=8M"
    subprocess.run([HELPER, url, point, "-o", options], check=True, timeout=60)
    assert {"noatime", "nosuid"} <= set(line_of(point)[3].split(","))
    skerry("umount", point)
    # "suid" and "dev" are not handed on, being what mount(8) does if nothing is said.
    subprocess.run([HELPER, url, point, "-o", "rw,allow_other"], check=True, timeout=60)
    assert not {"nosuid", "nodev"} & set(line_of(point)[3].split(","))
    skerry("umount", point)
    skerry("mount", url, point)
    assert {"nosuid", "nodev"} <= set(line_of(point)[3].split(","))

    # As mount(8) calls it for `mount -o remount,ro,noexec DIR`.
    subprocess.run([HELPER, url, point, "-o", "ro,remount,noexec"], check=True, timeout=60)
    assert {"ro", "noexec"} <= set(line_of(point)[3].split(","))
    with pytest.raises(OSError) as caught:
        (point / "f").touch()
    assert caught.value.errno == errno.EROFS
    subprocess.run([HELPER, url, point, "-o", "rw,remount"], check=True, timeout=60)
    assert not {"ro", "noexec"} & set(line_of(point)[3].split(","))
    (point / "f").touch()
    skerry("umount", point)


def test_read_only(url, mounted):
    skerry("mkdir", url, "/d")
    mount = mounted("ro")
    assert "ro" in line_of(mount.path)[3].split(",")
    with pytest.raises(OSError) as caught:
        (mount / "f").write_text("x")
    assert caught.value.errno == errno.EROFS
    assert os.listdir(mount.path) == ["d"]


def test_subdir(url, mounted):
    skerry("mkdir", "-p", url, "/a/b/c")
    whole, part = mounted(), mounted("subdir=/a/b")
    (part / "c" / "f").write_text("inside")
    assert os.listdir(part.path) == ["c"]
    assert (whole / "a/b/c/f").read_text() == "inside"
    assert os.stat(part / ".").st_ino == os.stat(whole / "a/b").st_ino
    # Nothing above is reached: the parent of the root is the folder it is mounted in.
    assert os.stat(part / "..").st_ino == os.stat(part.path.parent).st_ino


def test_umask_is_the_callers_or_the_option(mounted):
    own, fixed = mounted(), mounted("umask=0027")
    before = os.umask(0o077)
    try:
        os.close(os.open(own / "a", os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(fixed / "b", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(fixed / "d", 0o777)
    finally:
        os.umask(before)
    assert os.stat(own / "a").st_mode & 0o777 == 0o600
    assert os.stat(fixed / "b").st_mode & 0o777 == 0o640
    assert os.stat(fixed / "d").st_mode & 0o777 == 0o750


def test_other_users_enter_only_if_allowed(mounted):
    closed, open_to_all = mounted(), mounted("allow_other")
    assert as_nobody(os.listdir, closed.path) == errno.EACCES
    assert as_nobody(os.listdir, open_to_all.path) == 0


@pytest.mark.parametrize("options", ["allow_other", "allow_other,no_default_permissions"])
def test_permissions(mounted, options):
    mount = mounted(options)
    private = mount / "private"
    private.mkdir(0o700)
    (private / "f").write_text("secret")
    os.chmod(private / "f", 0o666)
    (mount / "g").write_text("x")
    assert as_nobody(os.stat, private / "f") == errno.EACCES
    assert as_nobody((private / "f").read_text) == errno.EACCES
    assert as_nobody(os.listdir, private) == errno.EACCES
    assert as_nobody((mount / "g").write_text, "y") == errno.EACCES
    assert as_nobody(os.unlink, mount / "g") == errno.EACCES
    assert as_nobody(os.mkdir, mount / "d") == errno.EACCES
    assert as_nobody(os.chmod, mount / "g", 0o777) == errno.EPERM
    assert as_nobody(os.access, private, os.X_OK) == 0  # answers, with False

    def own():
        os.chdir(mount / "open")
        pathlib.Path("mine").write_text("1")
        assert os.stat("mine").st_uid == NOBODY
        os.chmod("mine", 0o400)
        os.rename("mine", "renamed")

    (mount / "open").mkdir()
    os.chmod(mount / "open", 0o777)
    assert as_nobody(own) == 0

    # Run a program that may be run and not read.
    os.chown(mount / "open", 0, 0)
    program = mount / "true"
    program.write_bytes(pathlib.Path("/bin/true").read_bytes())
    os.chmod(program, 0o711)

    def run():
        subprocess.run([program], check=True)

    assert as_nobody(run) == 0


def test_supplementary_groups_count(mount):
    shared = mount / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4321)
    os.chmod(shared, 0o2770)

    def member():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([77, 4321])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                (shared / "f").write_text("x")
                os.chown(shared / "f", -1, 77)
                code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert member() == 0
    assert os.stat(shared / "f").st_gid == 77
    assert as_nobody((shared / "g").write_text, "x") == errno.EACCES


def test_writing_drops_set_user_id(mount):
    file = mount / "f"
    file.write_text("x")
    for change in (
        lambda: file.write_text("y"),
        lambda: os.truncate(file, 0),
    ):
        os.chmod(file, 0o6777)
        assert as_nobody(change) == 0
        assert os.stat(file).st_mode & 0o7777 == 0o777


def test_large_requests(mount):
    data = os.urandom(1 << 20)
    before = mount.stats()
    with open(mount / "f", "wb", buffering=0) as file:
        for _ in range(4):
            assert file.write(data) == len(data)
    assert mount.stats()["op_write"] - before["op_write"] == 4
    assert (mount / "f").read_bytes() == data * 4
    device = os.stat(mount.path).st_dev
    ahead = pathlib.Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    wait_until(lambda: ahead.read_text() == "4096\n", what="the kernel's readahead")


def test_writeback_cache(mounted):
    writer, reader = mounted("writeback_cache"), mounted("attr_timeout=0,entry_timeout=0")
    before = writer.stats()
    with open(writer / "f", "wb", buffering=0) as file:
        for i in range(2000):
            file.write(b"%04d" % i)
    assert writer.stats()["op_write"] - before["op_write"] < 100
    assert (reader / "f").read_bytes() == b"".join(b"%04d" % i for i in range(2000))
    # Parts of pages through a handle for writing alone, and appending.
    with open(writer / "f", "r+b", buffering=0) as file:
        pass
    fd = os.open(writer / "f", os.O_WRONLY)
    os.pwrite(fd, b"XX", 4001)
    os.close(fd)
    with open(writer / "f", "ab") as file:
        file.write(b"end")
    expected = bytearray(b"".join(b"%04d" % i for i in range(2000)))
    expected[4001:4003] = b"XX"
    assert (reader / "f").read_bytes() == bytes(expected) + b"end"


def test_writeback_of_who_may_write_but_does_not_own(url, mounted):
    mount = mounted("writeback_cache,allow_other")
    (mount / "f").write_text("x")
    os.chmod(mount / "f", 0o666)
    before = os.stat(mount / "f").st_mtime_ns
    assert as_nobody((mount / "f").write_text, "written") == 0
    assert as_nobody(os.truncate, mount / "f", 3) == 0
    assert as_nobody(os.utime, mount / "f", (1, 1)) == errno.EPERM
    assert skerry("cat", url, "/f") == "wri"
    assert os.stat(mount / "f").st_mtime_ns > before


def test_virtual_files(url, mounted, tmp_path):
    mount = mounted("allow_other,attr_timeout=7")
    (mount / "f").write_text("x")
    assert os.listdir(mount.path) == ["f"]
    virtual = mount / ".skerry"
    assert sorted(os.listdir(virtual)) == ["accesslog", "config", "stats"]
    assert [entry.name for entry in os.scandir(virtual) if not entry.is_file()] == []
    assert mount.stats()["op_create"] == 1
    config = json.loads((virtual / "config").read_text())
    assert config["mount"]["attr_timeout"] == 7.0
    assert config["volume"]["format"]["version"] == 1
    assert as_nobody((virtual / "stats").read_text) == errno.EACCES
    for action, code in (
        (lambda: os.mkdir(virtual), errno.EEXIST),
        (lambda: os.rmdir(virtual), errno.EPERM),
        (lambda: os.rename(mount / "f", virtual), errno.EISDIR),
        (lambda: os.rename(virtual, mount / "g"), errno.EPERM),
        (lambda: os.link(virtual / "stats", mount / "g"), errno.EPERM),
        (lambda: (virtual / "x").write_text("x"), errno.EPERM),
        (lambda: (virtual / "stats").write_text("x"), errno.EACCES),
        (lambda: os.unlink(virtual / "stats"), errno.EPERM),
        (lambda: os.chmod(virtual / "stats", 0o777), errno.EPERM),
    ):
        with pytest.raises(OSError) as caught:
            action()
        assert caught.value.errno == code
    (mount / "d").mkdir()
    assert not (mount / "d" / ".skerry").exists()


def test_access_log(mount):
    with open(mount / ".skerry" / "accesslog", "rb", buffering=0) as log:
        (mount / "a name").write_text("hello")
        lines = b""
        while b"release" not in lines:
            lines += log.read(4096)
    create = next(line for line in lines.splitlines() if b" create (" in line)
    assert b"a\\x20name" in create and b": OK <" in create and b"uid:0" in create
    assert any(b" write (" in line and b",5,0)" in line for line in lines.splitlines())


def test_reading_the_idle_access_log_is_interrupted(mount):
    reader = subprocess.Popen(["cat", mount / ".skerry" / "accesslog"], stdout=subprocess.PIPE)
    time.sleep(0.3)
    reader.terminate()
    assert reader.wait(20) == -signal.SIGTERM
    reader.stdout.close()
