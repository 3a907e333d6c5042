"""flock(2) and fcntl(2) locks: on one mount, between mounts, and when a holder is gone."""

import errno
import fcntl
import multiprocessing
import os
import signal
import struct
import time

import pytest

from mounts import in_children, skerry, wait_until

EXCLUSIVE, SHARED, NB, UNLOCK = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB, fcntl.LOCK_UN
OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
FORK = multiprocessing.get_context("fork")


class Actor:
    """A process that does what it is told, one thing at a time; locks belong to processes."""

    def __init__(self):
        self.pipe, other = FORK.Pipe()
        self.process = FORK.Process(target=self._serve, args=(other,))
        self.process.start()
        other.close()
        self.pid = self.process.pid

    @staticmethod
    def _serve(pipe):
        signal.signal(signal.SIGINT, interrupted)
        files = {}
        while True:
            name, arguments = pipe.recv()
            try:
                pipe.send((0, getattr(Doings, name)(files, *arguments)))
            except OSError as error:
                pipe.send((error.errno, None))

    def start(self, name, *arguments):
        self.pipe.send((name, arguments))

    def done(self, seconds=0):
        return self.pipe.poll(seconds)

    def result(self, seconds=60):
        assert self.pipe.poll(seconds), "the actor does not answer"
        return self.pipe.recv()

    def error(self, name, *arguments):
        self.start(name, *arguments)
        return self.result()[0]

    def __call__(self, name, *arguments):
        self.start(name, *arguments)
        code, value = self.result()
        assert code == 0, (name, arguments, os.strerror(code))
        return value

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self):
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Doings:
    """What actors can do; `key` names an open file."""

    def open(files, key, path, flags=os.O_RDWR):
        files[key] = os.open(path, flags)

    def close(files, key):
        os.close(files.pop(key))

    def flock(files, key, operation):
        fcntl.flock(files[key], operation)

    def lock(files, key, operation, length=0, start=0):
        fcntl.lockf(files[key], operation, length, start)

    def ofd(files, key, command, kind, start=0, length=0):
        got = fcntl.fcntl(files[key], command, flock_of(kind, start, length))
        return struct.unpack("hhqqi", got[:28])

    def test(files, key, kind, start=0, length=0):
        got = fcntl.fcntl(files[key], fcntl.F_GETLK, flock_of(kind, start, length))
        kind, _, start, length, pid = struct.unpack("hhqqi", got[:28])
        return kind, start, length, pid

    def write(files, key, data, offset=0):
        os.pwrite(files[key], data, offset)

    def read(files, key, length, offset=0):
        return os.pread(files[key], length, offset)

    def fsync(files, key):
        os.fsync(files[key])


def interrupted(*_):
    raise InterruptedError(errno.EINTR, "a signal")  # or Python makes the call again


def flock_of(kind, start, length):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


@pytest.fixture
def actors():
    made = []

    def make(count):
        made.extend(Actor() for _ in range(count))
        return made[-count:]

    yield make
    for actor in made:
        actor.end()


@pytest.fixture(params=["one mount", "two mounts"])
def places(request, mounted):
    """Where two processes meet: the same mount, or two mounts of the volume."""
    first = mounted("allow_other")
    second = mounted("allow_other") if request.param == "two mounts" else first
    (first / "f").write_bytes(b"x" * 1000)
    wait_until((second / "f").exists)
    return first / "f", second / "f"


@pytest.fixture
def pair(places, actors):
    a, b = actors(2)
    a("open", "f", places[0])
    b("open", "f", places[1])
    return a, b


def test_flock_excludes(pair):
    a, b = pair
    a("flock", "f", SHARED)
    b("flock", "f", SHARED)
    assert a.error("flock", "f", EXCLUSIVE | NB) == errno.EAGAIN
    b("flock", "f", UNLOCK)
    a("flock", "f", EXCLUSIVE | NB)
    assert b.error("flock", "f", SHARED | NB) == errno.EAGAIN
    a("flock", "f", SHARED)
    b("flock", "f", SHARED | NB)


def test_record_locks_exclude_by_range_and_type(pair):
    a, b = pair
    a("lock", "f", EXCLUSIVE, 10, 0)
    assert b.error("lock", "f", SHARED | NB, 1, 9) == errno.EAGAIN
    b("lock", "f", EXCLUSIVE | NB, 10, 10)
    assert a.error("lock", "f", EXCLUSIVE | NB, 0, 0) == errno.EAGAIN
    a("lock", "f", SHARED, 5, 0)  # a downgrade of one half
    b("lock", "f", SHARED | NB, 5, 0)
    assert b.error("lock", "f", SHARED | NB, 1, 5) == errno.EAGAIN
    a("lock", "f", UNLOCK, 0, 0)
    b("lock", "f", EXCLUSIVE | NB, 0, 0)


def test_the_two_kinds_do_not_see_each_other(pair):
    a, b = pair
    a("flock", "f", EXCLUSIVE)
    b("lock", "f", EXCLUSIVE | NB)
    assert a.error("lock", "f", EXCLUSIVE | NB) == errno.EAGAIN
    assert b.error("flock", "f", EXCLUSIVE | NB) == errno.EAGAIN


# Ranges as the lock tests of the Connectathon suite try them: what one process holds, what another
# tries, whether it gets it. A length of 0 reaches to the largest offset.
MOST = 2**63 - 1
RANGES = [
    ((0, 0), (0, 0), False),
    ((0, 0), (0, 1), False),
    ((0, 0), (MOST, 1), False),
    ((0, 0), (MOST - 1, 0), False),
    ((0, 1), (1, 0), True),
    ((0, 1), (1, 1), True),
    ((0, 1), (0, 0), False),
    ((1, 5), (0, 1), True),
    ((1, 5), (0, 2), False),
    ((1, 5), (3, 1), False),
    ((1, 5), (5, 1), False),
    ((1, 5), (6, 0), True),
    ((1, 5), (MOST, 1), True),
    ((MOST, 1), (0, MOST), True),
    ((MOST, 1), (0, 0), False),
    ((MOST - 1, 1), (MOST, 1), True),
]


def test_ranges_and_what_getlk_tells(pair):
    a, b = pair
    for (start, length), (other_start, other_length), free in RANGES:
        case = (start, length, other_start, other_length)
        a("lock", "f", EXCLUSIVE, length, start)
        told = b("test", "f", fcntl.F_WRLCK, other_start, other_length)
        if free:
            assert told[0] == fcntl.F_UNLCK, case
            b("lock", "f", EXCLUSIVE | NB, other_length, other_start)
            b("lock", "f", UNLOCK, other_length, other_start)
        else:
            length_told = 0 if start + length > MOST else length
            assert told == (fcntl.F_WRLCK, start, length_told, a.pid), case
            code = b.error("lock", "f", EXCLUSIVE | NB, other_length, other_start)
            assert code == errno.EAGAIN, case
        a("lock", "f", UNLOCK, 0, 0)
    assert b("test", "f", fcntl.F_WRLCK)[0] == fcntl.F_UNLCK


def test_splitting_and_joining(pair):
    a, b = pair
    a("lock", "f", EXCLUSIVE, 100, 0)
    a("lock", "f", UNLOCK, 20, 40)
    b("lock", "f", EXCLUSIVE | NB, 20, 40)
    assert b.error("lock", "f", SHARED | NB, 1, 39) == errno.EAGAIN
    assert b.error("lock", "f", SHARED | NB, 1, 60) == errno.EAGAIN
    assert b("test", "f", fcntl.F_RDLCK, 0, 0)[1:3] == (0, 40)
    b("lock", "f", UNLOCK)
    a("lock", "f", EXCLUSIVE, 20, 40)
    assert b("test", "f", fcntl.F_RDLCK, 50, 0)[1:3] == (0, 100)


@pytest.mark.parametrize("kind", ["flock", "lock"])
def test_handing_over_does_not_wait_for_a_clock(pair, kind):
    """Each blocks until the other unlocks. A waiter that only looked now and then, once a second,
    would need many times the time this may take."""
    a, b = pair
    a(kind, "f", EXCLUSIVE)
    begin = time.monotonic()
    for _ in range(60):
        b.start(kind, "f", EXCLUSIVE)
        assert not b.done()
        a(kind, "f", UNLOCK)
        assert b.result() == (0, None)
        a, b = b, a
    assert time.monotonic() - begin < 30


def test_any_close_by_the_process_gives_up_its_record_locks(pair, places):
    a, b = pair
    a("lock", "f", EXCLUSIVE)
    a("open", "again", places[0], os.O_RDONLY)
    assert b.error("lock", "f", EXCLUSIVE | NB) == errno.EAGAIN
    a("close", "again")
    b("lock", "f", EXCLUSIVE | NB)
    # A process that holds nothing gives up nothing.
    a("open", "again", places[0], os.O_RDONLY)
    a("close", "again")
    assert a.error("lock", "f", EXCLUSIVE | NB) == errno.EAGAIN


def test_flock_stays_until_its_own_file_is_closed(pair, places):
    a, b = pair
    a("flock", "f", EXCLUSIVE)
    a("open", "again", places[0])
    assert a.error("flock", "again", EXCLUSIVE | NB) == errno.EAGAIN
    a("close", "again")
    assert b.error("flock", "f", EXCLUSIVE | NB) == errno.EAGAIN
    a("close", "f")
    b("flock", "f", EXCLUSIVE)  # the kernel tells of the last close a little later


def test_locks_of_open_file_descriptions(pair, places):
    a, b = pair
    a("ofd", "f", OFD_SETLK, fcntl.F_WRLCK, 0, 10)
    a("open", "again", places[0])
    assert a.error("ofd", "again", OFD_SETLK, fcntl.F_WRLCK, 5, 1) == errno.EAGAIN
    a("close", "again")  # is not the description that holds it
    assert b.error("lock", "f", EXCLUSIVE | NB, 1, 0) == errno.EAGAIN
    a("close", "f")
    b("lock", "f", EXCLUSIVE, 1, 0)


@pytest.mark.parametrize("kind", ["process", "description"])
def test_the_late_end_of_a_closed_file_costs_no_lock(mount, actors, kind):
    """The kernel tells of it when it has time, and the owner has opened and locked it again by then:
    a process is the same owner, and a description often gets the number of the last one."""
    (mount / "f").write_bytes(b"x")
    (b,) = actors(1)
    b("open", "f", mount / "f")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        fd = os.open(mount / "f", os.O_RDWR)
        if kind == "process":
            fcntl.lockf(fd, EXCLUSIVE)
        else:
            fcntl.fcntl(fd, OFD_SETLKW, flock_of(fcntl.F_WRLCK, 0, 0))
        assert b("test", "f", fcntl.F_WRLCK)[0] == fcntl.F_WRLCK
        os.close(fd)
    b("lock", "f", EXCLUSIVE)


@pytest.mark.parametrize("kind", ["flock", "lock"])
def test_a_killed_holder_leaves_no_lock(pair, kind):
    a, b = pair
    a(kind, "f", EXCLUSIVE)
    b.start(kind, "f", EXCLUSIVE)
    assert not b.done(0.1)
    a.signal(signal.SIGKILL)
    assert b.result() == (0, None)


@pytest.mark.parametrize("kind", ["flock", "lock"])
def test_signals_end_waiting_and_leave_no_waiter(pair, places, actors, kind):
    a, b = pair
    (c,) = actors(1)
    c("open", "f", places[1])
    a(kind, "f", EXCLUSIVE)
    b.start(kind, "f", EXCLUSIVE)
    assert not b.done(0.2)
    b.signal(signal.SIGINT)
    assert b.result(20)[0] == errno.EINTR
    # Killed while it waits: it ends at once, and never gets the lock.
    b.start(kind, "f", EXCLUSIVE)
    assert not b.done(0.2)
    b.signal(signal.SIGKILL)
    b.process.join(20)
    assert b.process.exitcode == -signal.SIGKILL
    a(kind, "f", UNLOCK)
    c(kind, "f", EXCLUSIVE | NB)


def test_more_waiters_than_threads(mounted, actors):
    mount = mounted("allow_other,threads=4")
    (mount / "f").write_bytes(b"x")
    crowd = actors(24)
    holder, waiters = crowd[0], crowd[1:]
    for actor in crowd:
        actor("open", "f", mount / "f")
    holder("lock", "f", EXCLUSIVE)
    for actor in waiters:
        actor.start("lock", "f", EXCLUSIVE)
    wait_until(lambda: holder("test", "f", fcntl.F_WRLCK)[0] == fcntl.F_UNLCK)
    assert (mount / "f").read_bytes() == b"x"  # others are served
    holder("lock", "f", UNLOCK)
    left = set(waiters)
    while left:
        wait_until(lambda: any(actor.done() for actor in left), what="the next holder")
        won = [actor for actor in left if actor.done()]
        assert len(won) == 1
        assert won[0].result() == (0, None)
        won[0]("lock", "f", UNLOCK)
        left -= set(won)


def test_a_circle_of_waits_is_an_error(mounted, actors):
    mount = mounted("allow_other")
    for name in "xyz":
        (mount / name).write_bytes(b"1")
    crowd = actors(3)
    for actor, own in zip(crowd, "xyz"):
        for name in "xyz":
            actor("open", name, mount / name)
        actor("lock", own, EXCLUSIVE)
    crowd[0].start("lock", "y", EXCLUSIVE)
    assert not crowd[0].done(0.2)
    crowd[1].start("lock", "z", EXCLUSIVE)
    assert not crowd[1].done(0.2)
    assert crowd[2].error("lock", "x", EXCLUSIVE) == errno.EDEADLK
    crowd[2]("lock", "z", UNLOCK)
    assert crowd[1].result() == (0, None)
    crowd[1]("lock", "y", UNLOCK)
    assert crowd[0].result() == (0, None)


def test_a_circle_of_waits_through_two_mounts_is_an_error(mounted, actors):
    """Who is told gives up what it has, and the others go on."""
    mounts = mounted("allow_other"), mounted("allow_other")
    for name in "xyz":
        (mounts[0] / name).write_bytes(b"1")
    crowd = actors(3)
    wait_until((mounts[1] / "z").exists)
    for number, (actor, own) in enumerate(zip(crowd, "xyz")):
        for name in "xyz":
            actor("open", name, mounts[number // 2] / name)
        actor("lock", own, EXCLUSIVE)
    for actor, wanted in zip(crowd, "yzx"):
        actor.start("lock", wanted, EXCLUSIVE)
    waiting, told = dict(zip("xyz", crowd)), 0
    while waiting:
        wait_until(lambda: any(actor.done(0) for actor in waiting.values()), 30, "an answer")
        own, actor = next((own, actor) for own, actor in waiting.items() if actor.done(0))
        code, _ = actor.result()
        assert code in (0, errno.EDEADLK)
        told += code != 0
        for name in "xyz":
            actor("lock", name, UNLOCK)
        del waiting[own]
    assert told >= 1
    for name in "xyz":
        crowd[0]("lock", name, EXCLUSIVE | NB)


@pytest.mark.parametrize("kind", ["flock", "lock"])
def test_who_gets_the_lock_sees_what_the_last_holder_wrote(mounted, kind):
    """A counter that many increment under the lock, through the page caches of two mounts that
    trust attributes for a minute."""
    options = "allow_other,attr_timeout=60,entry_timeout=60"
    two = mounted(options), mounted(options)
    (two[0] / "counter").write_bytes(b"%08d" % 0)
    workers, rounds = 4, 40

    def count(mount):
        fd = os.open(mount / "counter", os.O_RDWR)
        call = fcntl.flock if kind == "flock" else fcntl.lockf
        for _ in range(rounds):
            call(fd, EXCLUSIVE)
            number = int(os.pread(fd, 8, 0))
            size = os.fstat(fd).st_size
            os.pwrite(fd, b"%08d" % (number + 1), 0)
            os.pwrite(fd, b"+", size)  # lengths must be seen as well
            call(fd, UNLOCK)
        os.close(fd)

    in_children(*[lambda n=n: count(two[n % 2]) for n in range(workers)])
    done = workers * rounds
    assert (two[1] / "counter").read_bytes() == b"%08d" % done + b"+" * done


@pytest.mark.format("--session-expiry", "5s")
def test_a_killed_mount_loses_its_locks_when_its_session_expires(doomed, mounted, actors):
    """Also a shared one."""
    dead = doomed("allow_other")
    alive = mounted("allow_other")
    (alive / "f").write_bytes(b"x")
    a, b = actors(2)
    wait_until((dead / "f").exists)
    a("open", "f", dead / "f")
    b("open", "f", alive / "f")
    a("flock", "f", SHARED)
    b("flock", "f", SHARED)
    dead.process.kill()
    dead.process.wait()
    b.start("flock", "f", EXCLUSIVE)
    assert b.result(40) == (0, None)


@pytest.mark.format("--session-expiry", "5s")
@pytest.mark.parametrize("inline", [True, False])
def test_a_frozen_mount_can_not_write_under_the_lock_it_lost(doomed, mounted, actors, inline):
    frozen = doomed("allow_other")
    alive = mounted("allow_other")
    size = 100 if inline else 300_000
    (alive / "f").write_bytes(b"." * size)
    (alive / "other").write_bytes(b"." * size)
    a, b, c = actors(3)
    wait_until((frozen / "f").exists)
    a("open", "f", frozen / "f")
    c("open", "f", frozen / "f")
    a("open", "other", frozen / "other")
    b("open", "f", alive / "f")
    a("lock", "f", EXCLUSIVE)
    a("write", "f", b"A" * (size // 2))  # taken, and not stored yet
    frozen.process.send_signal(signal.SIGSTOP)
    b.start("lock", "f", EXCLUSIVE)
    assert b.result(40) == (0, None)
    assert b("read", "f", size) == b"." * size
    b("write", "f", b"B" * size)
    b("lock", "f", UNLOCK)
    b("lock", "f", SHARED)
    frozen.process.send_signal(signal.SIGCONT)
    # Who held it, and who had it open: nothing of theirs is written, and they are told.
    assert a.error("write", "f", b"late") == errno.EIO
    assert a.error("fsync", "f") == errno.EIO
    assert c.error("write", "f", b"late") == errno.EIO
    wait_until(lambda: a.error("read", "f", 10) == errno.EIO, what="EIO")
    assert a.error("lock", "f", EXCLUSIVE | NB) == errno.EIO
    # Other files of the mount work on, under its new session; so does the same file opened anew.
    a("write", "other", b"fine")
    wait_until(lambda: a.error("fsync", "other") == 0, what="a new session")
    assert a.error("close", "f") in (0, errno.EIO)
    a("open", "f", frozen / "f")
    assert a("read", "f", size) == b"B" * size
    assert a.error("lock", "f", EXCLUSIVE | NB) == errno.EAGAIN
    b("lock", "f", UNLOCK)
    a("lock", "f", EXCLUSIVE)
    a("write", "f", b"again")
    a("close", "f")
    b("lock", "f", SHARED)
    assert b("read", "f", size) == b"again" + b"B" * (size - 5)


def test_local_locks_are_the_kernels(mounted, actors):
    one, other = mounted("local_locks"), mounted("local_locks")
    (one / "f").write_bytes(b"x")
    a, b, c = actors(3)
    wait_until((other / "f").exists)
    a("open", "f", one / "f")
    b("open", "f", one / "f")
    c("open", "f", other / "f")
    a("lock", "f", EXCLUSIVE)
    assert b.error("lock", "f", EXCLUSIVE | NB) == errno.EAGAIN
    c("lock", "f", EXCLUSIVE | NB)
    assert one.stats()["op_setlk"] == 0


def test_a_volume_closed_with_locks_leaves_none(url, mounted):
    mount = mounted("allow_other")
    (mount / "f").write_bytes(b"x")
    with open(mount / "f", "r+b") as file:
        fcntl.flock(file, EXCLUSIVE)
        fcntl.lockf(file, EXCLUSIVE)
        assert skerry("fsck", url) == ""
    assert skerry("fsck", url) == ""
