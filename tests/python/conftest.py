"""A fresh volume for every test.

The package is taken from bindings/python and the library from SKERRY_LIBRARY (default:
build/lib/libskerry.so).
"""

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

import skerry  # noqa: E402


@pytest.fixture
def url(tmp_path):
    (tmp_path / "volume").mkdir()
    name = f"sqlite://{tmp_path}/volume/vol.db"
    skerry.format(name)
    return name


@pytest.fixture
def volume(url):
    with skerry.Volume(url) as opened:
        yield opened
