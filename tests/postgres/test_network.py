"""Networks and servers that fail. Every call ends by its deadline; what was acknowledged is there
afterwards, once."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import skerry
from load import SLACK, Load
from servers import ROOT, Postgres, wait_until, with_clock


def test_connections_are_cut_again_and_again(volume, network):
    load = Load(volume, volume.through(network))
    for _ in range(8):
        load.wait_for(20)
        network.cut()
        time.sleep(0.05)
        network.heal()
    load.finish()


@pytest.mark.parametrize("toxic", [
    ("reset_peer", {"timeout": 150}),
    ("limit_data", {"bytes": 20_000}),
    ("slicer", {"average_size": 7, "size_variation": 5, "delay": 200}),
    ("latency", {"latency": 20, "jitter": 20}),
    ("bandwidth", {"rate": 40}),
], ids=lambda toxic: toxic[0])
def test_networks(volume, network, toxic):
    kind, attributes = toxic
    load = Load(volume, volume.through(network))
    network.add(kind, "downstream", **attributes)
    if kind in ("slicer", "latency"):
        network.add(kind, "upstream", **attributes)
    if kind == "reset_peer":  # nothing gets through
        time.sleep(1)
    else:
        load.wait_for(15)
    network.heal()
    load.wait_for(15)
    load.finish()


def test_answers_of_commits_are_lost(volume, network):
    """The connection ends after so many bytes of answers: in the middle of each kind of them."""
    load = Load(volume, volume.through(network), threads=2)
    for size in (3000, 3300, 3700, 4100, 4600):
        network.add("limit_data", "downstream", bytes=size)
        time.sleep(0.25)
        network.heal()
        load.wait_for(4)
    load.finish()


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_a_black_hole(volume, network, stream):
    """Whatever is sent is taken, and nothing comes back: not even a request to cancel."""
    load = Load(volume, volume.through(network), timeout="2s")
    load.wait_for(10)
    network.add("timeout", stream, timeout=0)
    wait_until(lambda: len(load.errors) >= 3, what="calls that end")
    network.heal()
    load.wait_for(10)
    load.finish(errors=[errno.ETIMEDOUT])
    said = str(load.errors[0])
    assert "deadline" in said or "in time" in said


def test_a_server_that_stands_still(server, volume):
    load = Load(volume, volume.url, timeout="2s")
    load.wait_for(10)
    os.killpg(server.process.pid, signal.SIGSTOP)
    pids = [int(pid) for pid in subprocess.run(
        ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout.split()]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: len(load.errors) >= 3, what="calls that end")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        os.killpg(server.process.pid, signal.SIGCONT)
    load.wait_for(10)
    load.finish(errors=[errno.ETIMEDOUT])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL],
                         ids=["fast", "immediate", "kill"])
def test_restarts(server, volume, signum):
    load = Load(volume, volume.url)
    for _ in range(2):
        load.wait_for(20)
        server.restart(signum)
    load.wait_for(20)
    load.finish()


def test_the_first_host_is_silent(server, volume):
    """As a machine without power is: nothing answers its address. The next host is asked."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]  # what the kernel takes; the rest it drops
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        url = (f"postgres://postgres@127.0.0.1:{port},127.0.0.1:{server.port}/postgres?schema="
               f"{volume.name}&sslmode=disable&target_session_attrs=read-write")
        began = time.monotonic()
        with skerry.Volume(url) as opened:
            opened.mkdir("/here")
        assert time.monotonic() - began < 30
        for each in waiting:
            each.close()


class Idle:
    """Sessions that others hold. Text that is run in one of them stays in its transaction."""

    def __init__(self, server, count=1):
        self.server = server
        self.sessions = [
            subprocess.Popen([server.bin / "psql", "-qXAt", "-h", server.folder, "-p",
                              str(server.port), "-U", "postgres", "-d", "postgres"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        for session in self.sessions:
            self.run("SELECT 1", session)

    def run(self, text, session=None):
        session = session or self.sessions[0]
        session.stdin.write(text + ";\n\\echo done\n")
        session.stdin.flush()
        while session.stdout.readline() not in ("done\n", ""):
            pass

    def close(self):
        for session in self.sessions:
            session.communicate()


def opens(url):
    try:
        skerry.Volume(url).close()
    except OSError:
        return False
    return True


def fails(code, call):
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == code, caught.value
    return str(caught.value)


def test_all_connections_are_taken(session_folder, request, tmp_path):
    """Who has a connection goes on; who needs one waits for it, and is told what it waits for."""
    server = Postgres(session_folder / "few", max_connections=5, superuser_reserved_connections=0)
    url = server.url("v")
    skerry.format(url, storage=f"file://{tmp_path}/data")
    with skerry.Volume(url, timeout="2s", background=0, notify=0) as volume:
        volume.mkdir("/a")
        others = Idle(server, 4)
        # Many callers share the one connection that there is.
        threads = [threading.Thread(target=volume.write_bytes, args=(f"/a/{n}", b"x"))
                   for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(volume.listdir("/a")) == 6
        said = fails(errno.EIO, lambda: skerry.Volume(url))
        assert "too many clients" in said and "max_connections" in said
        others.close()
        wait_until(lambda: opens(url), what="a connection that is free again")
        with skerry.Volume(url) as second:
            assert len(second.listdir("/a")) == 6
    server.stop()


def test_statement_timeout(server, volume):
    server.run("ALTER DATABASE postgres SET statement_timeout = '300ms'")
    blocker = Idle(server)
    try:
        with skerry.Volume(volume.url) as opened:
            opened.mkdir("/before")
            blocker.run(f"BEGIN; SELECT 1 FROM {volume.name}.dirstat FOR UPDATE")
            said = fails(errno.ETIMEDOUT, lambda: opened.mkdir("/refused"))
            assert "statement timeout" in said
            blocker.run("ROLLBACK")
            opened.mkdir("/after")
            assert opened.listdir("/") == ["after", "before"]
    finally:
        blocker.close()
        server.run("ALTER DATABASE postgres RESET statement_timeout")


def test_idle_session_timeout(server, volume):
    server.run("ALTER DATABASE postgres SET idle_session_timeout = '300ms'")
    try:
        with skerry.Volume(volume.url) as opened:
            for number in range(9):
                opened.mkdir(f"/{number}")
                time.sleep(0.26 + 0.01 * number)
            assert len(opened.listdir("/")) == 9
    finally:
        server.run("ALTER DATABASE postgres RESET idle_session_timeout")


def test_no_standby_confirms(server, volume):
    """A commit that no standby has is not acknowledged: the server may be lost with it."""
    with skerry.Volume(volume.url, timeout="1s", background=0) as opened:
        opened.mkdir("/before")
        server.reload(synchronous_standby_names="nobody")
        try:
            wait_until(lambda: server.run("SHOW synchronous_standby_names") == ["nobody"])
            began = time.monotonic()
            fails(errno.ETIMEDOUT, lambda: opened.mkdir("/unconfirmed"))
            fails(errno.ETIMEDOUT, lambda: opened.write_bytes("/before/f", b"x"))
            assert time.monotonic() - began < 2 * (1 + SLACK)
            # An administrator ends the wait, and the server says that all is well.
            ended = threading.Event()

            def administrator():
                while not ended.wait(0.02):
                    server.run("SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                               "WHERE wait_event = 'SyncRep'")

            thread = threading.Thread(target=administrator, daemon=True)
            thread.start()
            with pytest.raises(OSError) as caught:
                skerry.Volume(volume.url, timeout="4s")
            ended.set()
            thread.join()
            assert "did not wait until a standby has the commit" in str(caught.value)
        finally:
            server.reload(synchronous_standby_names="")
        wait_until(lambda: server.run("SHOW synchronous_standby_names") == [""])
        opened.mkdir("/after")
        assert {"before", "after"} <= set(opened.listdir("/"))


@pytest.fixture
def small_disk(session_folder):
    """A file system of 64 MiB, and what fills it."""
    folder = session_folder / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "tmpfs", folder],
                   check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_the_tables_disk_is_full(server, request, small_disk, tmp_path):
    place = small_disk / "tables"
    place.mkdir()
    subprocess.run(["chown", "postgres:", place], check=True)
    server.run(f"CREATE TABLESPACE small LOCATION '{place}'",
               "ALTER DATABASE postgres SET default_tablespace = small")
    url = server.url("on_small_disk")
    try:
        skerry.format(url, storage=f"file://{tmp_path}/data")
        with skerry.Volume(url, timeout="5s") as volume:
            made = []
            fill(small_disk)
            with pytest.raises(OSError) as caught:
                for number in range(3000):
                    volume.mkdir(f"/{number:04}-" + 200 * "x")
                    made.append(number)
            assert caught.value.errno == errno.ENOSPC
            assert "free space on the database server" in str(caught.value)
            assert [int(name[:4]) for name in volume.listdir("/")] == made
            (small_disk / "filler").unlink()
            volume.mkdir("/there is space")
            assert len(volume.listdir("/")) == len(made) + 1
    finally:
        server.run("ALTER DATABASE postgres RESET default_tablespace",
                   "DROP SCHEMA IF EXISTS on_small_disk CASCADE", "DROP TABLESPACE small")


def test_the_logs_disk_is_full(session_folder, small_disk, tmp_path):
    """The server stops. When there is space and it is started again, all that was acknowledged is
    there, and the clients go on by themselves."""
    server = Postgres(session_folder / "full", data=small_disk / "data", max_wal_size="32MB",
                      min_wal_size="32MB", wal_recycle="off")
    url = server.url("v")
    skerry.format(url, storage=f"file://{tmp_path}/data")
    with skerry.Volume(url, timeout="3s") as volume:
        made, maybe = set(), set()
        fill(small_disk)
        for number in range(20_000):
            try:
                volume.mkdir(f"/{number:05}-" + 240 * "x")
                made.add(number)
            except OSError as error:
                assert error.errno in (errno.ENOSPC, errno.ETIMEDOUT, errno.EIO), error
                maybe.add(number)
                break
        assert maybe, "the disk was never full"
        (small_disk / "filler").unlink()
        # It comes back by itself, unless it had given up before there was space.
        wait_until(lambda: server.process.poll() is not None or server.answers())
        if server.process.poll() is not None:
            server.start()
        volume.mkdir("/there is space")
        found = {int(name[:5]) for name in volume.listdir("/") if name[:5].isdigit()}
        assert made <= found <= made | maybe
    server.stop()


HOLDER = """
import sys, skerry, fcntl
volume = skerry.Volume(sys.argv[1])
file = volume.open(sys.argv[2], "ab", 0)
file.flock(fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
file.write(b"still here")
file.fsync()
file.close()
volume.close()
print("written", flush=True)
"""


class Holder:
    """A process that holds the lock of a file, until it is told to write to it and to go."""

    def __init__(self, url, path):
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER, url, path], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=os.environ | {"PYTHONPATH": str(ROOT / "bindings" / "python")})
        assert self.process.stdout.readline() == "locked\n"

    def go(self):
        out, _ = self.process.communicate("\n", timeout=60)
        assert (out, self.process.returncode) == ("written\n", 0)


def test_the_servers_clock_jumps(session_folder, tmp_path):
    """An hour forward, and two back: who lives keeps its session and its locks, and who is dead
    loses them when its session's time is over."""
    clock = session_folder / "clock"

    def jump(seconds):
        (session_folder / "next").write_text(f"{seconds:+}\n")
        (session_folder / "next").chmod(0o644)
        (session_folder / "next").rename(clock)

    jump(0)
    server = Postgres(session_folder / "jumping", environment=with_clock(file=clock))
    url = server.url("v")
    skerry.format(url, storage=f"file://{tmp_path}/data", session_expiry="5s")
    with skerry.Volume(url) as volume:
        for name in ("/held", "/left"):
            volume.write_bytes(name, b"")
        holder, dead = Holder(url, "/held"), Holder(url, "/left")

        def is_held(path):
            with volume.open(path, "r+b", 0) as file:
                try:
                    file.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return False
                except BlockingIOError:
                    return True

        now = int(server.run("SELECT extract(epoch FROM clock_timestamp())::bigint")[0])
        jump(3600)
        wait_until(lambda: int(server.run(
            "SELECT extract(epoch FROM clock_timestamp())::bigint")[0]) >= now + 3600)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert is_held("/held") and is_held("/left")
            time.sleep(0.2)
        dead.process.kill()
        dead.process.communicate()
        jump(-3600)
        wait_until(lambda: not is_held("/left"), 30, "the dead one's lock")
        assert is_held("/held")
        holder.go()
        assert volume.read_bytes("/held") == b"still here"
    server.stop()
