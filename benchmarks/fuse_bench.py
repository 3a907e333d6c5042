#!/usr/bin/env python3
"""A mounted volume beside libfuse's passthrough_ll and beside the file system below, in one run.

    fuse_bench.py --build DIR [--json=FILE] [--dir=/tmp] [--rounds=3] [--only=reads,writes,names,small]

passthrough_ll is compiled from the examples of Debian's libfuse3-dev. All three lie on one disk.
Reads: the mount's own page cache is dropped before each pass (fio's invalidate), so that each page
is asked for; what lies below it is warm. The file system below reads from its page cache. Names:
the kernel's dentries are dropped, so that each stat is one look-up. CPU is the server's, by
/proc/PID/stat, that of the caller not counted.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

EXAMPLES = pathlib.Path("/usr/share/doc/libfuse3-dev/examples")
TICK = os.sysconf("SC_CLK_TCK")
FILE_MIB = 192  # fits the default cache_size
NAMES = 5000
SMALL = 2000
SMALL_BYTES = 16384


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def drop_dentries():
    """The kernel's names and inodes, not its pages."""
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")


class Place:
    """A directory to work in, and who serves it."""

    def __init__(self, name, directory, server=None):
        self.name, self.directory, self.server = name, directory, server

    def cpu(self):
        """Seconds of CPU the server has used; of this process where there is none."""
        if self.server is None:
            return 0.0
        fields = pathlib.Path(f"/proc/{self.server}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK


def wait_for_mount(directory):
    for _ in range(200):
        if os.path.ismount(directory):
            return
        time.sleep(0.05)
    sys.exit(f"fuse_bench: {directory} was not mounted")


def pid_of(command_part):
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(command_part in word for word in words) and "python" not in words[0]:
            return int(entry.name)
    sys.exit(f"fuse_bench: there is no process for {command_part}")


class Contest:
    def __init__(self, root, build):
        self.root, self.build, self.mounts = root, build, []

    def __enter__(self):
        below = self.root / "below"
        below.mkdir()
        places = [Place("the file system below", below)]
        source, point = self.root / "passed", self.root / "passthrough"
        source.mkdir()
        point.mkdir()
        program = self.root / "passthrough_ll"
        flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "fuse3"], text=True)
        run("gcc", "-O2", "-w", str(EXAMPLES / "passthrough_ll.c"), "-o", str(program),
            *flags.split())
        run(str(program), str(point), "-o", f"source={source},cache=auto,timeout=1")
        wait_for_mount(point)
        self.mounts.append(point)
        places.append(Place("passthrough_ll", point, pid_of(str(program))))
        volume, point = self.root / "volume.db", self.root / "skerry"
        point.mkdir()
        run(str(self.build / "bindings/skerry"), "format", f"sqlite://{volume}")
        run(str(self.build / "bindings/skerry-fuse"), f"sqlite://{volume}", str(point))
        wait_for_mount(point)
        self.mounts.append(point)
        places.append(Place("skerry", point, pid_of(f"sqlite://{volume}")))
        return places

    def __exit__(self, *_):
        for point in self.mounts:
            subprocess.run(["fusermount3", "-u", str(point)], check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def fio(place, operation, block, seconds, jobs=1):
    """(MiB/s, operations) of one pass."""
    # What is below a mount stays warm; the mount's own pages are dropped.
    keep = place.server is None or operation.endswith("write")
    out = subprocess.check_output(
        ["fio", "--name=x", f"--filename={place.directory}/data", f"--size={FILE_MIB}M",
         f"--rw={operation}", f"--bs={block}", "--ioengine=psync", f"--numjobs={jobs}",
         f"--invalidate={0 if keep else 1}", "--end_fsync=1" if "write" in operation else
         "--end_fsync=0", *([f"--runtime={seconds}", "--time_based"] if seconds else []),
         "--group_reporting", "--output-format=json", "--randrepeat=0"], text=True)
    job = json.loads(out)["jobs"][0]
    side = job["write" if "write" in operation else "read"]
    return side["bw_bytes"] / 2**20, side["total_ios"]


def fio_pass(operation, block, seconds=0):
    def measure(place):
        before = place.cpu()
        rate, count = fio(place, operation, block, seconds)
        return rate, (place.cpu() - before) / count * 1e6
    return measure


def timed(place, count, body):
    before, began = place.cpu(), time.perf_counter()
    body()
    seconds = time.perf_counter() - began
    return count / seconds, (place.cpu() - before) / count * 1e6


def create(place):
    folder = f"{place.directory}/names"
    os.mkdir(folder)

    def body():
        for i in range(NAMES):
            os.close(os.open(f"{folder}/{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    return timed(place, NAMES, body)


def stat(place):
    folder = f"{place.directory}/names"
    drop_dentries()

    def body():
        for i in range(NAMES):
            os.stat(f"{folder}/{i}")
    return timed(place, NAMES, body)


def list_all(place):
    folder = f"{place.directory}/names"
    drop_dentries()

    def body():
        assert sum(1 for entry in os.scandir(folder) if entry.stat()) == NAMES
    return timed(place, NAMES, body)


def unlink(place):
    folder = f"{place.directory}/names"

    def body():
        for i in range(NAMES):
            os.unlink(f"{folder}/{i}")
    result = timed(place, NAMES, body)
    os.rmdir(folder)
    return result


def small_write(place):
    folder = f"{place.directory}/small"
    data = os.urandom(SMALL_BYTES)
    os.mkdir(folder)

    def body():
        for i in range(SMALL):
            fd = os.open(f"{folder}/{i}", os.O_CREAT | os.O_WRONLY, 0o644)
            os.write(fd, data)
            if place.name != "skerry":
                os.fsync(fd)  # Skerry's close is durable
            os.close(fd)
    return timed(place, SMALL, body)


def small_read(place):
    folder = f"{place.directory}/small"
    drop_dentries()

    def body():
        for i in range(SMALL):
            fd = os.open(f"{folder}/{i}", os.O_RDONLY)
            if place.server is not None:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert len(os.read(fd, SMALL_BYTES)) == SMALL_BYTES
            os.close(fd)
    result = timed(place, SMALL, body)
    for i in range(SMALL):
        os.unlink(f"{folder}/{i}")
    os.rmdir(folder)
    return result


STEPS = {  # what: (group, unit, at least so much of the passthrough's rate, measure)
    "write 1 MiB at a time, fsync": ("writes", "MiB/s", None, fio_pass("write", "1M")),
    "read 1 MiB at a time": ("reads", "MiB/s", 1, fio_pass("read", "1M")),
    "read 4 KiB at random": ("reads", "MiB/s", 1, fio_pass("randread", "4k", 4)),
    "write 4 KiB at random, fsync": ("writes", "MiB/s", None, fio_pass("randwrite", "4k", 4)),
    "create": ("names", "/s", None, create),
    "stat": ("names", "/s", 1, stat),
    "list with attributes": ("names", "/s", None, list_all),
    "unlink": ("names", "/s", None, unlink),
    "write files of 16 KiB, durable": ("small", "/s", None, small_write),
    "open and read files of 16 KiB": ("small", "/s", None, small_read),
}


def conditions():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": str(os.cpu_count()), "kernel": platform.release()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--json", default="")
    parser.add_argument("--dir", default="/tmp")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    groups = arguments.only.split(",") if arguments.only else None
    root = pathlib.Path(tempfile.mkdtemp(prefix="skerry-bench-", dir=arguments.dir))
    steps = {what: step for what, step in STEPS.items() if not groups or step[0] in groups}
    figures = {}
    with Contest(root, arguments.build.resolve()) as places:
        if groups == ["reads"]:
            for place in places:
                fio(place, "write", "1M", 0)
        for number in range(arguments.rounds):
            for what, (group, _, _, measure) in steps.items():
                for place in places:
                    if group == "reads" and number == 0:
                        measure(place)  # what lies below is warm from here on
                    figures.setdefault((what, place.name), []).append(measure(place))
        names = [place.name for place in places]
    results = []
    title = "a mounted volume (SQLite, local directory) beside a FUSE passthrough"
    print(title)
    for name, value in conditions().items():
        print(f"  {name}: {value}")
    print(f"  {'what':<34} {'skerry':>9} {'us CPU':>7} {'passthr.':>9} {'us CPU':>7} {'ratio':>6} "
          f"{'below':>9} {'ratio':>6}")
    for what, (_, unit, wanted, _) in steps.items():
        rate, cpu = {}, {}
        for name in names:
            rate[name] = statistics.median(r for r, _ in figures[(what, name)])
            cpu[name] = statistics.median(c for _, c in figures[(what, name)])
        ours = rate["skerry"]
        ratio = ours / rate["passthrough_ll"]
        told = "" if wanted is None else f" >= {wanted} {'met' if ratio >= wanted else 'MISSED'}"
        below = rate[names[0]]
        print(f"  {what:<34} {ours:>9.0f} {cpu['skerry']:>7.1f} {rate['passthrough_ll']:>9.0f} "
              f"{cpu['passthrough_ll']:>7.1f} {ratio:>6.2f} {below:>9.0f} {ours / below:>6.2f}{told}")
        for name in names[:2]:
            results.append({"what": what, "value": ours, "unit": unit, "beside": name,
                            "beside_value": rate[name], "wanted": wanted if wanted and
                            name == "passthrough_ll" else -1, "at_most": False,
                            "met": not wanted or name != "passthrough_ll" or ratio >= wanted})
        results.append({"what": f"{what}: the server's CPU", "value": cpu["skerry"], "unit": "us",
                        "beside": "passthrough_ll", "beside_value": cpu["passthrough_ll"],
                        "wanted": -1, "at_most": True, "met": True})
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(
            {"title": title, "conditions": conditions(), "results": results}) + "\n")


if __name__ == "__main__":
    main()
