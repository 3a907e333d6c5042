"""Mounts volumes in temporary folders with the programs that were built.

SKERRY_PROGRAM names the program `skerry` (default: build/bindings/skerry).
"""

import collections
import ctypes
import os
import pathlib
import signal
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SKERRY_PROGRAM", str(ROOT / "build" / "bindings" / "skerry"))
FUSE_PROGRAM = str(pathlib.Path(PROGRAM).parent / "skerry-fuse")
HELPER = str(pathlib.Path(PROGRAM).parent / "mount.skerry")
NOBODY = 65534

libc = ctypes.CDLL(None, use_errno=True)


def skerry(*arguments, status=0):
    result = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, timeout=120)
    assert result.returncode == status, (arguments, result.stdout, result.stderr)
    return result.stdout.decode()


def mount_points():
    with open("/proc/self/mounts") as mounts:
        return [line.split()[1] for line in mounts]


def is_mounted(directory):
    return str(directory) in mount_points()


def mounted_beneath(directory):
    return [point for point in mount_points() if point.startswith(f"{directory}/")]


def wait_until(condition, seconds=60, what=""):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(0.02)


class Mount:
    """A volume mounted on a folder, by a process in the foreground that the test can signal."""

    def __init__(self, url, directory, *options, expect_mount=True):
        self.url = url
        self.path = pathlib.Path(directory)
        self.path.mkdir(exist_ok=True)
        words = [word for option in options for word in ("-o", option)]
        self.process = subprocess.Popen(
            [PROGRAM, "mount", "-f", url, str(directory), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        if expect_mount:
            wait_until(
                lambda: is_mounted(self.path) or self.process.poll() is not None, what="the mount"
            )
            assert self.process.poll() is None, self.process.stderr.read()

    def __truediv__(self, name):
        return self.path / name

    def stats(self):
        """The counters of .skerry/stats."""
        lines = (self.path / ".skerry" / "stats").read_text().splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def end(self):
        """Unmounts; whatever the test left must not keep it mounted. What it said, the first time."""
        if self.process.stderr.closed:
            return ""
        if is_mounted(self.path):
            subprocess.run(["fusermount3", "-u", "-z", str(self.path)], timeout=30)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        said = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return said


def as_nobody(action, *arguments, groups=()):
    """Runs action in a child as a user without rights; returns its errno, 0 if it went well."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups(groups)
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action(*arguments)
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_children(*actions):
    """Runs each in a process of its own; all must succeed."""
    children = []
    for action in actions:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                action()
                code = 0
            except BaseException as error:  # noqa: BLE001: the parent shall see it
                print(f"child: {error!r}", flush=True)
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * len(codes)


def renameat2(source, target, flags):
    if libc.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


NOREPLACE, EXCHANGE = 1, 2

STATX_BTIME, STATX_ATTR_IMMUTABLE = 0x800, 0x10
AT_FORCE_SYNC, AT_SYMLINK_FOLLOW = 0x2000, 0x400
Statx = collections.namedtuple("Statx", "mask attributes nlink mode ino size btime_ns")


def statx(path, flags=0, directory=-100):
    """statx(2) of what stat(2) tells and the birth time; of an open file with flags 0x1000."""
    told = ctypes.create_string_buffer(256)
    if libc.statx(directory, os.fsencode(path), flags, 0xFFF, told) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    mask, _, attributes, nlink, _, _, mode, ino, size = struct.unpack_from("=IIQIIIHxxQQ", told)
    seconds, nanoseconds = struct.unpack_from("=qI", told, 80)
    return Statx(mask, attributes, nlink, mode, ino, size, seconds * 10**9 + nanoseconds)


def link_open_file(fd, path):
    """Gives a file of O_TMPFILE a name, as open(2) tells to."""
    source = os.fsencode(f"/proc/self/fd/{fd}")
    if libc.linkat(-100, source, -100, os.fsencode(path), AT_SYMLINK_FOLLOW) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
