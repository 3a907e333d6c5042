"""The main job, on real files: copies trees of this machine into a volume, verifies them after
reopening, renames, appends, lists, reads everything back in random order, and prints what each step
cost in requests and bytes. Run by quickstart.sh."""

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time

import skerry

TREES = [sysconfig.get_paths()["stdlib"], "/usr/include"]
LEFT_OUT = ("__pycache__", "site-packages", "test", "boost")  # a few thousand files are enough


class Step:
    """Prints one line for a step: time, metadata commits, object requests and bytes."""

    def __init__(self, volume, title):
        self.volume, self.title, self.note = volume, title, ""

    def __enter__(self):
        self.before = self.volume.counters()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *error):
        if error[0] is not None:
            return
        seconds = time.perf_counter() - self.start
        after = self.volume.counters()
        spent = {name: after[name] - self.before.get(name, 0) for name in after}
        cost = (
            f"{spent['metadata_commits']} commits, {spent['object_puts']} PUTs"
            f" ({spent['object_put_bytes'] / 2**20:.1f} MiB), {spent['object_gets']} GETs"
            f" ({spent['object_get_bytes'] / 2**20:.1f} MiB)"
        )
        print(f"{self.title:<44} {seconds:6.2f} s  {cost}{self.note}")


def run(*command):
    """Runs a command and returns what it said on standard error."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stderr


def tree_of(root):
    """Relative paths of everything below root, with lstat; special files and caches left out."""
    found = {}
    for folder, directories, files in os.walk(root):
        directories[:] = sorted(d for d in directories if d not in LEFT_OUT)
        for name in directories + sorted(files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(
                status.st_mode
            ):
                found[os.path.relpath(path, root)] = status
    return found


def verify(volume, root, target):
    """Every file byte for byte, every mode, time and symlink; returns (files, bytes)."""
    files = size = 0
    for path, expected in tree_of(root).items():
        ours, theirs = f"{target}/{path}", os.path.join(root, path)
        status = volume.lstat(ours)
        if status.st_mode != expected.st_mode:
            sys.exit(f"{ours}: mode {status.st_mode:o}, expected {expected.st_mode:o}")
        if stat.S_ISLNK(expected.st_mode):
            if volume.readlink(ours) != os.readlink(theirs):
                sys.exit(f"{ours}: another target")
        elif stat.S_ISREG(expected.st_mode):
            if status.st_mtime_ns != expected.st_mtime_ns:
                sys.exit(f"{ours}: another modification time")
            with open(theirs, "rb") as file:
                data = file.read()
            if volume.read_bytes(ours) != data:
                sys.exit(f"{ours}: other bytes")
            files, size = files + 1, size + len(data)
    return files, size


def main():
    scratch = tempfile.mkdtemp(prefix="skerry-quickstart-")
    url = f"sqlite://{scratch}/vol.db"
    try:
        source = os.path.join(scratch, "source")
        os.mkdir(source)
        for number, root in enumerate(TREES):
            shutil.copytree(
                root,
                os.path.join(source, str(number)),
                symlinks=True,
                ignore=shutil.ignore_patterns(*LEFT_OUT),
            )
        print(f"volume {url}, data in {scratch}/vol.db.data")
        run("skerry", "format", url)
        start = time.perf_counter()
        told = run("skerry", "cp", "-r", "-p", "--cost", url, source, ":/trees")
        seconds = time.perf_counter() - start
        print(f"{'copied in: skerry cp -r':<44} {seconds:6.2f} s  {told.partition('cost: ')[2].strip()}")

        with skerry.Volume(url) as volume:
            with Step(volume, "verified after reopening") as step:
                files, size = verify(volume, source, "/trees")
                step.note = f"; {files} files, {size / 2**20:.1f} MiB, bytes, modes and times equal"
            with Step(volume, "renamed a directory of all of them"):
                volume.rename("/trees", "/renamed")
            with Step(volume, "wrote a file of 64 MiB"):
                with volume.open("/large", "wb") as file:
                    for _ in range(64):
                        file.write(os.urandom(1 << 20))
            with Step(volume, "appended 1 MiB to it"):
                with volume.open("/large", "ab") as file:
                    file.write(os.urandom(1 << 20))
            with Step(volume, "listed everything") as step:
                names = [
                    f"{folder}/{name}"
                    for folder, _, found in volume.walk("/renamed")
                    for name in found
                ]
                step.note = f"; {len(names)} files"
            names = [name for name in names if stat.S_ISREG(volume.lstat(name).st_mode)]
            random.shuffle(names)
            with Step(volume, "read all files, shuffled, in batches of 256") as step:
                total = 0
                for at in range(0, len(names), 256):
                    total += sum(len(data) for data in volume.read_many(names[at : at + 256]))
                step.note = f"; {total / 2**20:.1f} MiB"
            if total != size:
                sys.exit(f"read {total} bytes, expected {size}")
        run("skerry", "fsck", "--check-data", url)
        used = json.loads(
            subprocess.run(["skerry", "df", "--json", url], check=True, capture_output=True).stdout
        )
        print("df:", json.dumps(used))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


main()
