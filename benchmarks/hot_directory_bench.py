#!/usr/bin/env python3
"""Processes that create files in one directory, beside as many that have one each, in one run.

    hot_directory_bench.py --build DIR [--json=FILE] [--processes=8] [--files=1500] [--rounds=3]

On a private PostgreSQL, which is removed at the end. Each process has opened the volume by itself.
Deadlocks and transactions undone are the server's own counts, conflicts the library's.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import platform
import stat
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WANTED = 0.8


def work(url, folders, files, barrier, answers):
    import skerry

    with skerry.Volume(url) as volume:
        for number, folder in enumerate(folders):
            volume.stat(folder)
            barrier.wait()
            begin = time.monotonic()
            for i in range(files):
                volume.mknod(f"{folder}/{number}-{os.getpid()}-{i}", stat.S_IFREG | 0o644)
            answers.put((number, begin, time.monotonic()))
            barrier.wait()
        answers.put((-1, volume.counters()["metadata_conflicts"], 0))


def server_counts(server):
    text = subprocess.run(
        ["psql", "-qXAt", "-h", server, "-U", "postgres", "-d", "postgres", "-c",
         "SELECT deadlocks, xact_rollback FROM pg_stat_database WHERE datname='postgres'"],
        check=True, capture_output=True, text=True).stdout
    return [int(field) for field in text.strip().split("|")]


def measure(server, url, processes, files, rounds):
    """Rates of (one directory, one each), a round each; what went wrong meanwhile."""
    import skerry

    with skerry.Volume(url) as volume:
        volume.mkdir("/one")
        for p in range(processes):
            volume.mkdir(f"/own{p}")
    before = server_counts(server)
    barrier = multiprocessing.Barrier(processes)
    answers = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(
            target=work, args=(url, ["/one", f"/own{p}"] * rounds, files, barrier, answers))
        for p in range(processes)
    ]
    for worker in workers:
        worker.start()
    phases, conflicts = {}, 0
    for _ in range(processes * (2 * rounds + 1)):
        number, begin, end = answers.get(timeout=600)
        if number < 0:
            conflicts += begin
        else:
            phases.setdefault(number, []).append((begin, end))
    for worker in workers:
        worker.join()
    rates = [
        processes * files / (max(end for _, end in phases[n]) - min(begin for begin, _ in phases[n]))
        for n in sorted(phases)
    ]
    deadlocks, undone = (b - a for a, b in zip(before, server_counts(server)))
    return rates[0::2], rates[1::2], {"conflicts": conflicts, "deadlocks": deadlocks,
                                      "transactions undone": undone}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--json", default="")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "bindings" / "python"))
    os.environ["SKERRY_LIBRARY"] = str(arguments.build.resolve() / "lib" / "libskerry.so.0")
    import skerry

    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
        server = f"{folder}/server"
        os.chmod(folder, 0o755)
        script = str(ROOT / "tests" / "support" / "postgres.sh")
        subprocess.run([script, server, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)
        try:
            url = f"postgres://postgres@/postgres?host={server}&schema=hot"
            skerry.format(url, storage=f"file://{folder}/data")
            one, own, wrong = measure(server, url, arguments.processes, arguments.files,
                                      arguments.rounds)
        finally:
            subprocess.run([script, "--stop", server], check=True)
    ratio = statistics.median(a / b for a, b in zip(one, own))
    title = f"{arguments.processes} processes creating in one directory (PostgreSQL)"
    print(title)
    print(f"  one directory {statistics.median(one):.0f}/s, one each {statistics.median(own):.0f}/s,"
          f" ratio {ratio:.2f} >= {WANTED} {'met' if ratio >= WANTED else 'MISSED'}")
    print("  " + ", ".join(f"{count} {what}" for what, count in wrong.items()))
    results = [{"what": "creates in one directory", "value": statistics.median(one), "unit": "/s",
                "beside": "in one each", "beside_value": statistics.median(own), "wanted": WANTED,
                "at_most": False, "met": ratio >= WANTED}]
    results += [{"what": f"creates in both: {what}", "value": count, "unit": "", "beside": "",
                 "beside_value": 0, "wanted": -1, "at_most": True, "met": True}
                for what, count in wrong.items()]
    if arguments.json:
        conditions = {"cores": str(os.cpu_count()), "kernel": platform.release()}
        pathlib.Path(arguments.json).write_text(json.dumps(
            {"title": title, "conditions": conditions, "results": results}) + "\n")


if __name__ == "__main__":
    main()
