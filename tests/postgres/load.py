"""Threads that change a volume and remember what they were told."""

import threading
import time

import skerry
from servers import wait_until

# A call that waits past its deadline asks the server whether it has stopped, for a second at most;
# the rest is for a machine that does other things as well.
SLACK = 2.5


class Load:
    """Threads that make files exclusively and append records to one file, each with a volume of its
    own, until told to stop; and what they were told."""

    def __init__(self, volume, url, threads=3, timeout="10s", **options):
        self.volume, self.timeout = volume, float(timeout.rstrip("s"))
        with skerry.Volume(volume.url) as before:
            before.write_bytes("/log", b"")
            before.mkdir("/made")
        self.made, self.appended, self.maybe = [], [], set()
        self.errors, self.longest, self.acknowledged = [], 0.0, 0
        self.stopping = threading.Event()
        self.volumes = [skerry.Volume(url, timeout=timeout, **options) for _ in range(threads)]
        self.threads = [threading.Thread(target=self.work, args=(number,), daemon=True)
                        for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def timed(self, call, *arguments):
        began = time.monotonic()
        try:
            return call(*arguments)
        finally:
            self.longest = max(self.longest, time.monotonic() - began)

    def make(self, volume, name):
        self.timed(self.timed(volume.open, f"/made/{name}", "xb").close)

    def append(self, volume, record):
        file = self.timed(volume.open, "/log", "ab", 0)
        try:
            self.timed(file.write, record.encode())
            self.timed(file.fsync)
        finally:
            self.timed(file.close)

    def call(self, told, record, call, *arguments):
        try:
            call(*arguments)
        except OSError as error:
            self.errors.append(error)
            self.maybe.add(record)
        else:
            told.append(record)
            self.acknowledged += 1

    def work(self, number):
        volume, count = self.volumes[number], 0
        while not self.stopping.is_set():
            count += 1
            name = f"{number}.{count:06}"
            self.call(self.made, name, self.make, volume, name)
            self.call(self.appended, f"<{name}>", self.append, volume, f"<{name}>")

    def wait_for(self, more, timeout=30):
        """So many more acknowledged calls."""
        start = self.acknowledged
        wait_until(lambda: self.acknowledged >= start + more, timeout, "acknowledged calls")

    def finish(self, errors=()):
        """Stops and compares; `errors`: the only ones that may have been."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=self.timeout + 30)
            assert not thread.is_alive(), "a call hangs"
        for volume in self.volumes:
            try:
                volume.close()
            except OSError as error:
                self.errors.append(error)
        assert self.longest < self.timeout + SLACK
        unexpected = [e for e in self.errors if e.errno not in errors]
        assert unexpected == [], unexpected[:3]
        with skerry.Volume(self.volume.url) as after:
            names = set(after.listdir("/made"))
            text = after.read_bytes("/log").decode()
        records = text.removeprefix("<").removesuffix(">").split("><") if text else []
        records = [f"<{record}>" for record in records]
        assert set(self.made) - names == set(), "acknowledged files are missing"
        assert names - set(self.made) - self.maybe == set()
        assert len(records) == len(set(records)), "a record was appended twice"
        assert set(self.appended) - set(records) == set(), "acknowledged records are missing"
        assert set(records) - set(self.appended) - self.maybe == set()
        return self
