"""A fresh volume for every test: on SQLite, or in the PostgreSQL server whose folder
SKERRY_TEST_POSTGRES names; its data in a folder, or in the S3 server whose folder SKERRY_TEST_S3
names.

The package is taken from bindings/python and the library from SKERRY_LIBRARY (default:
build/lib/libskerry.so).
"""

import itertools
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("SKERRY_LIBRARY", str(ROOT / "build" / "lib" / "libskerry.so"))
sys.path.insert(0, str(ROOT / "bindings" / "python"))
# So that worker processes that are spawned find it too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "bindings" / "python"), os.environ.get("PYTHONPATH", "")]
)

sys.path.insert(0, str(ROOT / "tests" / "support"))

import skerry  # noqa: E402
from storage import storage  # noqa: E402


numbers = itertools.count()


@pytest.fixture
def url(tmp_path):
    (tmp_path / "volume").mkdir()
    name = f"sqlite://{tmp_path}/volume/vol.db"
    if server := os.environ.get("SKERRY_TEST_POSTGRES"):
        schema = f"python_{os.getpid()}_{next(numbers)}"
        name = f"postgres://postgres@/postgres?host={server}&schema={schema}"
    skerry.format(name, storage=storage(f"file://{tmp_path}/volume/vol.db.data"))
    return name


@pytest.fixture
def volume(url):
    with skerry.Volume(url) as opened:
        yield opened
