"""Servers for the whole run, and a fresh volume for every test."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from servers import BUILD, ROOT, Postgres, Toxiproxy

os.environ.setdefault("SKERRY_LIBRARY", str(BUILD / "lib" / "libskerry.so"))
sys.path.insert(0, str(ROOT / "bindings" / "python"))

import skerry  # noqa: E402

PROGRAM = BUILD / "bindings" / "skerry"


@pytest.fixture(scope="session")
def session_folder():
    """Not pytest's own, which lets nobody else through."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-postgres-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(session_folder, request):
    made = Postgres(session_folder / request.module.__name__)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def toxiproxy():
    made = Toxiproxy()
    yield made
    made.stop()


@pytest.fixture
def network(toxiproxy, server):
    return toxiproxy.network(server.port)


class TestVolume:
    """A volume in a schema of its own."""

    __test__ = False

    def __init__(self, server, name, folder, **options):
        self.server, self.name = server, name
        self.storage = f"file://{folder}/data"
        self.url = server.url(name)
        skerry.format(self.url, storage=self.storage, **options)

    def through(self, network, **parameters):
        return self.server.url(self.name, port=network.port, **parameters)

    def check(self):
        done = subprocess.run([PROGRAM, "fsck", self.url, "--check-data"], capture_output=True,
                              text=True, timeout=120)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), done


def name_of(request):
    return "".join(c if c.isalnum() else "_" for c in request.node.name)[:60].lower()


@pytest.fixture
def volume(server, request, tmp_path):
    made = TestVolume(server, name_of(request), tmp_path)
    yield made
    made.check()


@pytest.fixture
def volume_on_sqlite(tmp_path):
    (tmp_path / "volume").mkdir()
    url = f"sqlite://{tmp_path}/volume/vol.db"
    skerry.format(url)
    return url
