"""A fresh volume for every test."""

import pytest

from program import Cli


@pytest.fixture
def cli(tmp_path):
    """The program with a fresh volume of its own."""
    volume = tmp_path / "volume"
    volume.mkdir()
    made = Cli(f"sqlite://{volume}/vol.db")
    made("format")
    return made
