"""Threads, forked children, spawned workers, and the package installed from its wheel."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import threading

import pytest

import skerry

ROOT = pathlib.Path(__file__).resolve().parents[2]


def read_sum(volume, number):
    return sum(volume.read_bytes(f"/n{number}"))


def worker(volume, numbers, results):
    results.put([(number, read_sum(volume, number)) for number in numbers])
    with volume.open(f"/from-{os.getpid()}", "w") as file:
        file.write("written by a child")


@pytest.fixture
def numbered(volume):
    volume.write_many({f"/n{number}": os.urandom(5000) for number in range(40)})
    return volume


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(numbered, method):
    context = multiprocessing.get_context(method)
    results = context.Queue()
    processes = [
        context.Process(target=worker, args=(numbered, range(start, 40, 2), results))
        for start in (0, 1)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=60) + results.get(timeout=60))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert found == {number: read_sum(numbered, number) for number in range(40)}
    written = [name for name in numbered.listdir("/") if name.startswith("from-")]
    assert len(written) == 2
    assert all(numbered.read_text("/" + name) == "written by a child" for name in written)


def test_pool_that_spawns(numbered):
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        sums = pool.starmap(read_sum, [(numbered, number) for number in range(6)])
    assert sums == [read_sum(numbered, number) for number in range(6)]


def test_pickle_keeps_url_and_options(url):
    with skerry.Volume(url, umask=0o077, cache_size="8M") as volume:
        copied = pickle.loads(pickle.dumps(volume))
    with copied:
        assert copied.url == url
        copied.write_bytes("/f", b"")
        assert copied.stat("/f").st_mode & 0o777 == 0o600


def test_a_forked_child_reads_open_files(numbered):
    with numbered.open("/n1", "rb") as file:
        first = file.read(10)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                file.seek(0)
                if file.read(10) == first:
                    status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        file.seek(0)
        assert file.read(10) == first


def test_threads(numbered):
    def work(seed):
        for number in range(seed, seed + 40):
            numbered.read_bytes(f"/n{number % 40}")
        with numbered.open(f"/thread{seed}", "wb") as file:
            file.write(bytes([seed]) * 100_000)
        return numbered.stat(f"/thread{seed}").st_size

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [100_000] * 8
    with numbered.open("/n1", "rb", 0) as file:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            pieces = list(pool.map(lambda at: file.pread(100, at), range(0, 5000, 100)))
    assert b"".join(pieces) == numbered.read_bytes("/n1")


def test_errors_are_of_their_thread(volume):
    failures = []

    def fail(name):
        for _ in range(200):
            try:
                volume.stat(name)
            except FileNotFoundError as error:
                if name not in f"{error.strerror} {error.filename}":
                    failures.append(error)

    threads = [threading.Thread(target=fail, args=(f"/missing{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_closing_waits_for_calls_of_other_threads(url):
    volume = skerry.Volume(url)
    volume.write_bytes("/f", os.urandom(1 << 20))
    outcomes = []
    started = threading.Barrier(5)

    def read():
        started.wait()
        try:
            while True:
                assert len(volume.read_bytes("/f")) == 1 << 20
        except ValueError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    volume.close()
    for thread in threads:
        thread.join(60)
    assert outcomes == ["the volume is closed"] * 4


def test_the_gil_is_released(volume):
    """A large read lets another thread run: the counter moves during a single call."""
    volume.write_bytes("/f", bytes(64 << 20))
    buffer = bytearray(64 << 20)
    ticks = 0
    stop = threading.Event()

    def count():
        nonlocal ticks
        while not stop.is_set():
            ticks += 1

    thread = threading.Thread(target=count)
    with volume.open("/f", "rb", 0) as file:
        thread.start()
        before = ticks
        for _ in range(20):
            file.seek(0)
            file.readinto(buffer)
        after = ticks
        stop.set()
        thread.join()
    assert after > before


def test_wheel_in_a_fresh_environment(tmp_path):
    """Built, installed without network, used from outside the source tree."""
    subprocess.run(
        [
            str(ROOT / "bindings" / "python" / "build_wheel.sh"),
            "--library",
            os.environ["SKERRY_LIBRARY"],
            "--out",
            str(tmp_path / "dist"),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith("skerry-0.1.0-py3-none-linux_")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", str(wheel)],
        check=True,
        env=environment,
    )
    script = f"""
import skerry, os
assert skerry.__file__.startswith({str(tmp_path)!r}), skerry.__file__
url = "sqlite://{tmp_path}/w.db"
skerry.format(url)
with skerry.Volume(url) as volume:
    with volume.open("/hello", "w") as file:
        file.write("from a wheel")
    print(volume.read_text("/hello"), skerry.__version__)
"""
    result = subprocess.run(
        [python, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout == "from a wheel 0.1.0\n", result.stderr
    shutil.rmtree(tmp_path / "venv")
