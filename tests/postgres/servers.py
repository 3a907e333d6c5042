"""Servers of the tests' own: PostgreSQL on 127.0.0.1, and a network that fails between it and its
clients. They end with this process, however it ends.

Toxiproxy and the checker of histories are compiled by Go, once, into the user's cache folder.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = pathlib.Path.home() / ".cache" / "skerry-tests"
BUILD = pathlib.Path(os.environ.get("SKERRY_BUILD", ROOT / "build"))


def newest(pattern):
    """The path with the highest version in it."""
    found = [p for p in pathlib.Path("/usr/lib/postgresql").glob(pattern)]
    assert found, f"no PostgreSQL server in /usr/lib/postgresql; install Debian's postgresql"
    return max(found, key=lambda path: int(path.parts[4].split(".")[0]))


def free_port():
    """Nobody listens there now; it is outside the range of ports that are given to clients."""
    for _ in range(1000):
        port = 10000 + int.from_bytes(os.urandom(2), "little") % 20000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def wait_until(holds, timeout=30, what="it"):
    """The first true value of `holds`, asked again and again."""
    end = time.monotonic() + timeout
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(0.02)


def as_server(command, signal_at_end="QUIT"):
    """The server refuses to run as root. It is told when this process dies."""
    who = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *who, f"--pdeathsig={signal_at_end}", *map(str, command)]


def own(path):
    if os.geteuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def with_clock(offset=None, file=None):
    """The environment of a program whose wall clock is wrong by `offset` ("+400d"), or by what
    `file` says at the moment."""
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    said = {"FAKETIME": offset} if offset else {"FAKETIME_TIMESTAMP_FILE": str(file)}
    return {"LD_PRELOAD": str(library), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1", **said}


def go_program(name, source, *arguments):
    """Compiles `source` (a folder of this project, or module@version) once."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    environment.setdefault("GOTOOLCHAIN", "local")
    subprocess.run(["go", "install", *arguments, source], cwd=HERE / "check", check=True,
                   env=environment, timeout=600)
    return folder


class Postgres:
    """One server. `data`: its folder; `environment`: of the server, beside this process's."""

    def __init__(self, folder, environment=None, data=None, **settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        own(self.folder)
        self.bin = newest("*/bin/postgres").parent
        self.data = pathlib.Path(data or self.folder / "data")
        self.port = free_port()
        self.environment = [f"{key}={value}" for key, value in (environment or {}).items()]
        self.process = None
        subprocess.run(as_server([self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A",
                                  "trust", "-E", "UTF8", "--no-locale", "--no-sync"]),
                       check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        chosen = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 100,
            "shared_buffers": "16MB",
            "fsync": "off",
            "log_min_messages": "fatal",
            "deadlock_timeout": "100ms",
        } | settings
        with open(self.data / "postgresql.conf", "a") as file:
            for key, value in chosen.items():
                file.write(f"{key} = '{value}'\n")
        self.start()

    def start(self):
        self.spawn()

        def started():
            # What is left of the server before may hold its memory for a moment.
            if self.process.poll() is not None:
                self.spawn()
            return self.answers()

        wait_until(started, what=f"PostgreSQL in {self.folder}")

    def spawn(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                as_server(["env", *self.environment, self.bin / "postgres", "-D", self.data]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True)

    def answers(self):
        return subprocess.run([self.bin / "pg_isready", "-qh", self.folder, "-p", str(self.port)],
                              stdout=subprocess.DEVNULL).returncode == 0

    def stop(self, signum=signal.SIGINT):
        """SIGINT: fast, SIGQUIT: immediate, SIGKILL: as the machine does it."""
        if self.process is None:
            return
        self.process.send_signal(signum)
        self.process.wait(timeout=60)
        self.process = None

    def restart(self, signum=signal.SIGINT):
        self.stop(signum)
        self.start()

    def run(self, *statements, database="postgres", user="postgres"):
        """The rows of the last one, as text. Waits for no standby, and has all the time."""
        command = [self.bin / "psql", "-qXAt", "-h", self.folder, "-p", str(self.port), "-U", user,
                   "-d", database, "-v", "ON_ERROR_STOP=1"]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                              env=os.environ | {"PGOPTIONS": "-c synchronous_commit=local -c "
                                                "idle_session_timeout=0 -c statement_timeout=0"})
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def reload(self, **settings):
        for key, value in settings.items():
            self.run(f"ALTER SYSTEM SET {key} = '{value}'")
        self.run("SELECT pg_reload_conf()")

    def url(self, schema, port=None, user="postgres", **parameters):
        more = "".join(f"&{key}={value}" for key, value in parameters.items())
        return (f"postgres://{user}@127.0.0.1:{port or self.port}/postgres?schema={schema}"
                f"&sslmode=disable{more}")


class Toxiproxy:
    """Shopify's proxy: networks that fail as they are told."""

    def __init__(self):
        program = CACHE / "toxiproxy" / "server"
        if not program.exists():
            go_program("toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0")
        self.port = free_port()
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", program, "-host", "127.0.0.1", "-port", str(self.port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, what="toxiproxy")

    def answers(self):
        try:
            return self.call("GET", "/version") is not None
        except OSError:
            return False

    def call(self, method, path, **body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=json.dumps(body).encode() if body else None)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text

    def network(self, port):
        return Network(self, port)

    def stop(self):
        self.process.kill()
        self.process.wait(timeout=20)


class Network:
    """Between its clients and one server."""

    def __init__(self, proxy, port):
        self.proxy, self.port = proxy, free_port()
        self.name = f"to{port}from{self.port}"
        proxy.call("POST", "/proxies", name=self.name, listen=f"127.0.0.1:{self.port}",
                   upstream=f"127.0.0.1:{port}", enabled=True)
        self.toxics = []

    def add(self, kind, stream="downstream", toxicity=1.0, **attributes):
        """Of what the server says (downstream) or is told (upstream)."""
        name = f"{kind}_{stream}_{len(self.toxics)}"
        self.proxy.call("POST", f"/proxies/{self.name}/toxics", name=name, type=kind, stream=stream,
                        toxicity=toxicity, attributes=attributes)
        self.toxics.append(name)

    def heal(self):
        for name in self.toxics:
            self.proxy.call("DELETE", f"/proxies/{self.name}/toxics/{name}")
        self.toxics = []
        self.cut(False)

    def cut(self, cut=True):
        """Ends all connections, and refuses new ones."""
        self.proxy.call("POST", f"/proxies/{self.name}", enabled=not cut)
