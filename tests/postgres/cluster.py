"""Three PostgreSQL servers with synchronous replication, of which Patroni (with etcd) makes one the
primary; all on 127.0.0.1, in a folder of their own."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

from servers import as_server, free_port, newest, own, wait_until

# Seconds. Patroni's own defaults take half a minute to notice that the primary is gone.
TTL, LOOP, RETRY = 5, 1, 2


class Node:
    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.folder = cluster.folder / name
        self.folder.mkdir()
        own(self.folder)
        self.port, self.rest = free_port(), free_port()
        self.bin = newest("*/bin/postgres").parent
        self.process = None
        (self.folder / "patroni.json").write_text(json.dumps({
            "scope": "skerry",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}",
                        "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"host": f"127.0.0.1:{cluster.etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL, "loop_wait": LOOP, "retry_timeout": RETRY,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,  # without a standby nothing is acknowledged
                    "primary_start_timeout": 0,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {"max_connections": 100, "shared_buffers": "16MB",
                                       "wal_log_hints": "on", "fsync": "off",
                                       "wal_keep_size": "256MB", "deadlock_timeout": "100ms",
                                       "wal_retrieve_retry_interval": "300ms",
                                       "log_min_messages": "fatal"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(self.bin),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {"superuser": {"username": "postgres"},
                                   "replication": {"username": "replicator"},
                                   "rewind": {"username": "postgres"}},
                "parameters": {"unix_socket_directories": str(self.folder)},
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust",
                           "host replication all 127.0.0.1/32 trust"],
            },
            "watchdog": {"mode": "off"},
        }))

    def start(self):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            as_server(["/usr/bin/patroni", self.folder / "patroni.json"], "TERM"),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
            start_new_session=True)

    def run(self, sql):
        """The first field, or None where nobody answers."""
        done = subprocess.run(
            [self.bin / "psql", "-qXAt", "-h", self.folder, "-p", str(self.port), "-U", "postgres",
             "-d", "postgres", "-c", sql], capture_output=True, text=True, timeout=30,
            env=os.environ | {"PGOPTIONS": "-c synchronous_commit=local", "PGCONNECT_TIMEOUT": "2"})
        return done.stdout.strip() if done.returncode == 0 else None

    def is_primary(self):
        return self.run("SELECT NOT pg_is_in_recovery()") == "t"

    def postmaster(self):
        try:
            return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None

    def kill(self):
        """As the machine's power does: Patroni, the server and its children."""
        pids = []
        if (postmaster := self.postmaster()) is not None:
            children = subprocess.run(["pgrep", "-P", str(postmaster)], capture_output=True,
                                      text=True).stdout.split()
            pids = [postmaster, *map(int, children)]
        if self.process is not None:
            self.process.kill()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process is not None:
            self.process.wait(timeout=20)
            self.process = None


class Cluster:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.folder.chmod(0o755)
        own(self.folder)
        self.etcd_port, peer = free_port(), free_port()
        log = open(self.folder / "etcd.log", "ab")
        self.etcd = subprocess.Popen(
            as_server(["/usr/bin/etcd", "--name", "e", "--data-dir", self.folder / "etcd",
                       "--listen-client-urls", f"http://127.0.0.1:{self.etcd_port}",
                       "--advertise-client-urls", f"http://127.0.0.1:{self.etcd_port}",
                       "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                       "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                       "--initial-cluster", f"e=http://127.0.0.1:{peer}", "--unsafe-no-fsync"],
                      "KILL"),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.nodes = [Node(self, name) for name in ("n1", "n2", "n3")]
        try:
            for node in self.nodes:
                node.start()
                if node is self.nodes[0]:
                    wait_until(node.is_primary, 60, "the first primary")
            self.wait_until_whole()
        except BaseException:
            self.explain()
            self.end()
            raise

    def url(self, schema):
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return (f"postgres://postgres@{hosts}/postgres?schema={schema}&sslmode=disable"
                "&target_session_attrs=read-write")

    def explain(self):
        """What each of the servers said last."""
        for log in [*self.folder.glob("*/log"), self.folder / "etcd.log"]:
            print(log, *log.read_text(errors="replace").splitlines()[-40:], sep="\n")

    def primary(self, timeout=60):
        def find():
            return next((node for node in self.nodes if node.is_primary()), None)

        return wait_until(find, timeout, "a primary")

    def wait_until_whole(self, timeout=90):
        """The others follow the primary, one of them confirms its commits, and Patroni has noted
        which: without that note it makes none of them the primary."""
        def whole():
            primary = self.primary()
            following = primary.run(
                "SELECT string_agg(application_name, ' ') FROM pg_stat_replication "
                "WHERE sync_state='sync' HAVING (SELECT count(*)=2 FROM pg_stat_replication "
                "WHERE state='streaming')")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{primary.rest}/cluster",
                                            timeout=5) as answer:
                    members = json.loads(answer.read())["members"]
            except OSError:
                return False
            noted = [m["name"] for m in members if m["role"] == "sync_standby"]
            return bool(following) and noted == following.split()

        wait_until(whole, timeout, "two standbys")

    def switch_over(self):
        old = self.primary()
        new = next(node for node in self.nodes if node is not old and self.is_synchronous(old, node))
        body = json.dumps({"leader": old.name, "candidate": new.name}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{old.rest}/switchover", data=body)
        try:
            urllib.request.urlopen(request, timeout=60).read()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read()) from error
        wait_until(new.is_primary, 60, "the new primary")

    def is_synchronous(self, primary, node):
        return primary.run("SELECT sync_state FROM pg_stat_replication WHERE application_name="
                           f"'{node.name}'") == "sync"

    def end(self):
        for node in self.nodes:
            node.kill()
        self.etcd.kill()
        self.etcd.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)
