"""A private S3 server, and a network that fails between it and its clients."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "postgres"), str(ROOT / "tests" / "support"),
                str(ROOT / "bindings" / "python")]

from servers import BUILD, Toxiproxy  # noqa: E402
from storage import use_keys  # noqa: E402

os.environ.setdefault("SKERRY_LIBRARY", str(BUILD / "lib" / "libskerry.so"))


@pytest.fixture(scope="session")
def server():
    """Its folder."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-s3-"))
    script = ROOT / "tests" / "support" / "s3.sh"
    subprocess.run([script, folder], check=True)
    use_keys(folder)
    yield folder
    subprocess.run([script, "--stop", folder], check=True)


@pytest.fixture(scope="session")
def toxiproxy():
    made = Toxiproxy()
    yield made
    made.stop()


@pytest.fixture
def network(toxiproxy, server):
    endpoint = (server / "endpoint").read_text().strip()
    made = toxiproxy.network(int(endpoint.rsplit(":", 1)[1]))
    yield made
    made.heal()
