"""A fresh volume for every test, mounted once or twice; checked with fsck afterwards. On SQLite, or
in the PostgreSQL server whose folder SKERRY_TEST_POSTGRES names; its data in a folder, or in the S3
server whose folder SKERRY_TEST_S3 names."""

import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from mounts import ROOT, Mount, mounted_beneath, skerry

sys.path.insert(0, str(ROOT / "tests" / "support"))

from storage import storage  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def can_mount():
    assert os.geteuid() == 0, "the tests of the mount run as root"
    assert os.path.exists("/dev/fuse"), "the tests of the mount need /dev/fuse"


@pytest.fixture
def tmp_path():
    """Not pytest's own, which lets nobody else through."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="skerry-fuse-"))
    folder.chmod(0o755)
    yield folder
    # What a failed test left mounted would keep its folder, and everything in it, for ever.
    for point in mounted_beneath(folder):
        subprocess.run(["fusermount3", "-u", "-z", point], timeout=30)
    shutil.rmtree(folder)


def pytest_configure(config):
    # A shell that starts jobs in the background has it ignored, and so would what is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "format(*options): how the test's volume is made")


numbers = itertools.count()


@pytest.fixture
def url(request, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    made = f"sqlite://{volume}/vol.db"
    if server := os.environ.get("SKERRY_TEST_POSTGRES"):
        schema = f"fuse_{os.getpid()}_{next(numbers)}"
        made = f"postgres://postgres@/postgres?host={server}&schema={schema}"
    marker = request.node.get_closest_marker("format")
    options = marker.args if marker else ()
    skerry("format", made, "--storage", storage(f"file://{volume}/vol.db.data"), *options)
    return made


@pytest.fixture
def mounted(url, tmp_path):
    """Mounts the volume with options; all is unmounted, and the volume checked, at the end."""
    mounts = []

    def mount(*options):
        mounts.append(Mount(url, tmp_path / f"mount{len(mounts)}", *options))
        return mounts[-1]

    yield mount
    said = [each.end() for each in mounts]
    assert said == [""] * len(mounts)
    assert skerry("fsck", url, "--check-data") == ""


@pytest.fixture
def mount(mounted):
    return mounted("allow_other,suid,dev")


@pytest.fixture
def doomed(url, tmp_path):
    """Mounts that are killed or frozen, and say so."""
    mounts = []

    def mount(*options):
        mounts.append(Mount(url, tmp_path / f"doomed{len(mounts)}", *options))
        return mounts[-1]

    yield mount
    for each in mounts:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGCONT)
        each.end()


AT_ONCE = "allow_other,attr_timeout=0,entry_timeout=0"


@pytest.fixture
def two_cached(mounted):
    """Two mounts whose kernels keep nothing; on PostgreSQL the clients keep what they know for the
    volume's lease, which is the default there."""
    return mounted(AT_ONCE), mounted(AT_ONCE)


@pytest.fixture
def two(url, mounted):
    """Two mounts that show each other's names and attributes at once."""
    options = AT_ONCE if url.startswith("sqlite:") else f"{AT_ONCE},consistency=strict"
    return mounted(options), mounted(options)


@pytest.fixture
def small_disk(tmp_path):
    """16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
