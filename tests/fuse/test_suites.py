"""Other people's tests and programs on a mount, each bounded in time.

fio, dbench, stress-ng, git, SQLite and PostgreSQL come from Debian; fsx from crates.io, compiled
once into the user's cache folder.
"""

import mmap
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import time

import pytest

from mounts import ROOT, in_children, wait_until

CACHE = pathlib.Path.home() / ".cache" / "skerry-tests"
POSTGRES = next(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), None)


def run(*command, **options):
    options.setdefault("timeout", 300)
    result = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        **options,
    )
    assert result.returncode == 0, (command, result.stdout[-4000:])
    return result.stdout


@pytest.fixture(scope="session")
def fsx():
    program = CACHE / "fsx" / "bin" / "fsx"
    if not program.exists():
        run("cargo", "install", "--quiet", "--version", "0.3.2", "--root", CACHE / "fsx", "fsx",
            timeout=900)
    return program


@pytest.mark.parametrize("seed, options", [(1, ""), (2, ""), (3, "writeback_cache")])
def test_fsx(mounted, fsx, tmp_path, seed, options):
    mount = mounted(*filter(None, [options]))
    run(fsx, "-N", 4000, "-S", seed, "-P", tmp_path, mount / "exercised", cwd=tmp_path)


@pytest.mark.parametrize("engine", ["psync", "mmap"])
def test_fio_with_verification(mount, tmp_path, engine):
    def verified(*options):
        run("fio", "--name=verified", f"--filename={mount / 'data'}", "--size=24M",
            f"--ioengine={engine}", "--verify=crc32c", "--verify_fatal=1", "--randseed=7", *options,
            cwd=tmp_path)  # where it leaves a file of its own

    verified("--rw=randwrite", "--bs=4k", "--verify_backlog=512")
    verified("--rw=write", "--bs=128k")
    verified("--rw=randwrite", "--bsrange=512-64k", "--overwrite=1", "--end_fsync=1")


def test_dbench(mount):
    out = run("dbench", "-D", mount.path, "-t", "6", "4")
    assert "Throughput" in out


STRESSORS = """access chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl file-ioctl
    filename flock fpunch fstat getdent handle hdd io link locka lockf lockofd mknod open rename
    seek symlink sync-file touch utime xattr""".split()


def test_stress_ng(mount):
    for start in range(0, len(STRESSORS), 2):
        two = [word for name in STRESSORS[start:start + 2] for word in (f"--{name}", "2")]
        run("stress-ng", *two, "--timeout", "1", "--verify", "--temp-path", mount.path,
            "--hdd-bytes", "8M", "--oomable")
        for left in os.listdir(mount.path):  # by a worker that was killed at the end of its time
            shutil.rmtree(mount / left)


def test_git(mount, tmp_path):
    quiet = {"env": {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
                     "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}}
    origin, clone = mount / "origin", mount / "clone"

    def git(where, *words):
        return run("git", "-C", where, *words, **quiet)

    shutil.copytree(ROOT / "lib", origin)
    git(origin, "init", "-q")
    for change in range(8):
        for path in sorted(origin.rglob("*.cc"))[change::8]:
            path.write_text(path.read_text() + f"// {change}\n")
        git(origin, "add", "-A")
        git(origin, "commit", "-qm", f"change {change}")
    run("git", "clone", "-q", "--no-hardlinks", origin, clone)
    git(clone, "fsck", "--strict")
    git(clone, "gc", "-q", "--prune=now")
    git(clone, "fsck", "--strict")
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", "HEAD") == git(origin, "rev-parse", "HEAD")
    git(clone, "checkout", "-q", "HEAD~5")
    git(clone, "checkout", "-q", "-")
    assert git(clone, "diff", "HEAD") == ""


def test_a_project_is_built_and_run(mount):
    """make, a compiler, and programs that are run from where they were built."""
    source = mount / "source"
    source.mkdir()
    names = [f"part{i}" for i in range(12)]
    for name in names:
        (source / f"{name}.c").write_text(
            f"#include <stdio.h>\n#include <stdlib.h>\nint {name}(int n) {{ return n + 1; }}\n")
    calls = " + ".join(f"{name}(0)" for name in names)
    declared = "".join(f"int {name}(int);\n" for name in names)
    (source / "main.c").write_text(
        f"#include <stdio.h>\n{declared}int main(void) {{ printf(\"%d\\n\", {calls}); }}\n")
    objects = " ".join(f"{name}.o" for name in [*names, "main"])
    (source / "Makefile").write_text(
        f"all: program lib.a\nprogram: {objects}\n\tcc -o $@ {objects}\n"
        f"lib.a: {objects}\n\tar rcs $@ {objects}\n")
    run("make", "-j2", "-C", source)
    assert run(source / "program") == f"{len(names)}\n"
    assert "up to date" in run("make", "-C", source).replace("Nothing to be done", "up to date")
    later = time.time_ns() + 10**9
    os.utime(source / "part3.c", ns=(later, later))
    assert "part3.c" in run("make", "-C", source)


@pytest.mark.parametrize("journal", ["wal", "delete", "persist", "truncate"])
def test_sqlite_database_on_the_mount(mount, journal):
    path = mount / "application.db"

    def open_database():
        database = sqlite3.connect(path, timeout=60, isolation_level=None)
        database.execute("PRAGMA synchronous=NORMAL")
        return database

    database = open_database()
    assert database.execute(f"PRAGMA journal_mode={journal}").fetchone() == (journal,)
    database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, note TEXT)")
    database.execute("BEGIN")
    database.executemany("INSERT INTO account VALUES (?, 100, '')", [(i,) for i in range(50)])
    database.execute("COMMIT")
    database.close()

    def transfer():
        own, chance = open_database(), random.Random(os.getpid())
        for _ in range(25):
            a, b = chance.sample(range(50), 2)
            own.execute("BEGIN IMMEDIATE")
            own.execute("UPDATE account SET balance = balance - 1, note = ? WHERE id = ?",
                        ("x" * chance.randrange(3000), a))
            own.execute("UPDATE account SET balance = balance + 1 WHERE id = ?", (b,))
            own.execute("COMMIT")
        own.close()

    in_children(transfer, transfer, transfer)
    database = open_database()
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT sum(balance) FROM account").fetchone() == (5000,)
    database.close()


def test_postgresql_on_the_mount_survives_an_immediate_stop(mount, tmp_path):
    assert POSTGRES is not None, "PostgreSQL's server is not installed"
    data, sockets = mount / "pgdata", tmp_path / "sockets"
    data.mkdir()
    sockets.mkdir()
    for folder in (data, sockets):
        shutil.chown(folder, "postgres", "postgres")
    data.chmod(0o700)
    log = sockets / "log"

    def as_postgres(program, *words, **options):
        return run("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                   POSTGRES / program, *words, cwd="/", **options)

    def start():
        as_postgres("pg_ctl", "-D", data, "-w", "-t", "60", "-l", log, "-o",
                    f"-c listen_addresses= -k {sockets} -c shared_buffers=16MB", "start")

    def query(text):
        return as_postgres("psql", "-h", sockets, "-qAt", "-c", text, "postgres").strip()

    as_postgres("initdb", "-D", data, "-A", "trust", "--no-locale", "-E", "UTF8")
    start()
    try:
        as_postgres("pgbench", "-h", sockets, "-q", "-i", "-s", "1", "postgres")
        for stops in (1, 2):
            load = subprocess.Popen(
                ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                 str(POSTGRES / "pgbench"), "-h", str(sockets), "-n", "-c", "4", "-T", "30", "postgres"],
                cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(lambda: int(query("SELECT count(*) FROM pgbench_history")) > 150 * stops,
                       seconds=60, what="transactions")
            as_postgres("pg_ctl", "-D", data, "-m", "immediate", "stop")
            load.wait(timeout=60)
            start()
        sums = query("SELECT (SELECT sum(abalance) FROM pgbench_accounts),"
                     " (SELECT sum(bbalance) FROM pgbench_branches),"
                     " (SELECT sum(tbalance) FROM pgbench_tellers),"
                     " (SELECT sum(delta) FROM pgbench_history)").split("|")
        assert len(set(sums)) == 1, sums
        assert int(query("SELECT count(*) FROM pgbench_history")) > 300
        as_postgres("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    except BaseException:
        print(log.read_text()[-4000:])
        raise
    finally:
        subprocess.run(["pkill", "-KILL", "-u", "postgres", "-f", str(data)], check=False)
    as_postgres("pg_checksums", "--enable", "-D", data)
    as_postgres("pg_checksums", "--check", "-D", data)


def test_asynchronous_direct_writes_leave_nothing_old_in_the_page_cache(mount, tmp_path):
    path, size = mount / "data", 8 << 20
    path.write_bytes(bytes(size))
    reader = subprocess.Popen(["sh", "-c", f"while cat '{path}'; do :; done"],
                              stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        run("fio", "--name=direct", f"--filename={path}", "--size=8M", "--ioengine=libaio",
            "--direct=1", "--rw=randwrite", "--bs=64k", "--iodepth=8", "--loops=8", "--randseed=3",
            "--overwrite=1", cwd=tmp_path)
    finally:
        os.killpg(reader.pid, 9)
        reader.wait()
    cached = path.read_bytes()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, size) as buffer:
        length = os.preadv(fd, [buffer], 0)
        os.close(fd)
        assert length == size
        assert buffer[:] == cached
