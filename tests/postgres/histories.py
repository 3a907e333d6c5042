"""Several processes on one volume, and the checker of what they saw; see client.cc and check/."""

import json
import math
import os
import signal
import subprocess
import time

from servers import BUILD, go_program, with_clock

CLIENT = BUILD / "tests" / "postgres" / "skerry_history_client"


def checker():
    """Compiled anew where its source has changed."""
    return go_program("check", ".") / "check"


class History:
    """Clients at work on a volume from now on. `clocks`: by how much their wall clocks are wrong."""

    def __init__(self, folder, url, seconds, clients=8, seed=1, world_ms=500, timeout_ms=10_000,
                 plant="", clocks=None):
        self.folder, self.world_ms, self.seconds = folder, world_ms, seconds
        self.url, self.timeout_ms = url, timeout_ms
        folder.mkdir(parents=True, exist_ok=True)
        begin = self.begin_ns = time.monotonic_ns() + 300_000_000  # when all of them have opened the volume
        self.end_ns = begin + int(seconds * 1e9)
        self.clients = [
            self.start(client, url, seed * 1000 + client, f"begin_ns={begin}",
                       f"end_ns={self.end_ns}", f"world_ms={world_ms}",
                       *([f"plant={plant}"] if plant and client == 0 else []),
                       clock=clocks[client % len(clocks)] if clocks else None)
            for client in range(clients)
        ]

    def start(self, client, url, seed, *options, clock=None):
        return subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", CLIENT, f"url={url}", f"client={client}",
             f"seed={seed}", f"log={self.log(client)}", f"timeout_ms={self.timeout_ms}", *options],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=os.environ | (with_clock(clock) if clock else {}))

    def stop(self):
        """Before their time is over."""
        self.end_ns = min(self.end_ns, time.monotonic_ns())
        self.seconds = (self.end_ns - self.begin_ns) / 1e9
        for client in self.clients:
            client.send_signal(signal.SIGTERM)

    def log(self, client):
        return self.folder / f"client{client}.log"

    def running(self):
        return time.monotonic_ns() < self.end_ns

    def finish(self, url=None, look=True):
        """Waits for the clients, then looks at all that they left. What the checker found."""
        said = [client.communicate(timeout=self.seconds + 120)[1] for client in self.clients]
        count = len(self.clients)
        if look:
            worlds = math.ceil(self.seconds * 1000 / self.world_ms)
            last = self.start(count, url or self.url, 0, f"worlds={worlds}")
            said.append(last.communicate(timeout=120)[1])
            assert last.returncode == 0, said
        self.said = b"".join(said).decode(errors="replace")
        logs = [self.log(client) for client in range(count + look)]
        done = subprocess.run([checker(), "-limit", "5s", *logs], capture_output=True, text=True,
                              timeout=300)
        found = json.loads(done.stdout) if done.stdout else {}
        found["explained"] = done.stderr
        assert "illegal" in found, done.stderr
        return found
