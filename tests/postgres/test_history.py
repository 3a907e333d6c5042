"""Histories of eight processes on one volume are linearizable, also while the network and the
server fail; and lies in them are found."""

import signal
import time

import pytest

from histories import History

KINDS = ["append", "close", "create", "flock", "link", "list", "mkdir", "open", "read", "rename",
         "rmdir", "setlk", "stat", "unflock", "unlink", "unsetlk"]


def expect_linearizable(found):
    assert found["illegal"] == [], (found, found["explained"])
    # Some worlds have too much under way at once to be decided in time.
    assert len(found["undecided"]) <= found["worlds"] / 4, (found, found["explained"])
    # A history in which little happened proves little.
    assert found["calls"] >= 300
    if found["calls"] >= 1000:
        assert [kind for kind in KINDS if found["succeeded"].get(kind, 0) == 0] == []
    print({key: found[key] for key in ("calls", "worlds", "undecided", "unknown", "longest_ms", "seconds", "failed")})


def test_sqlite(volume_on_sqlite, tmp_path):
    expect_linearizable(History(tmp_path / "logs", volume_on_sqlite, 2, world_ms=150).finish())


def test_postgres(volume, tmp_path):
    """Whatever the clients think the time is."""
    clocks = [None, "+400d", None, "-400d"]
    expect_linearizable(History(tmp_path / "logs", volume.url, 6, clocks=clocks).finish())


def test_connections_are_lost(volume, network, tmp_path):
    """Cut now and then, in the middle of answers too."""
    history = History(tmp_path / "logs", volume.through(network), 6)
    while history.running():
        time.sleep(0.35)
        network.cut()
        time.sleep(0.03)
        network.heal()
        time.sleep(0.35)
        network.add("limit_data", bytes=int(time.monotonic_ns() % 40_000))
        time.sleep(0.3)
        network.heal()
    expect_linearizable(history.finish(url=volume.url))


def test_server_is_restarted(volume, server, tmp_path):
    history = History(tmp_path / "logs", volume.url, 6)
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        time.sleep(1.5)
        server.restart(signum)
    expect_linearizable(history.finish())


@pytest.mark.parametrize("plant", ["lost-create", "lost-unlink", "lost-rename", "lost-append",
                                   "doubled-append", "stale-stat", "lost-lock"])
def test_a_lie_is_found(volume_on_sqlite, tmp_path, plant):
    found = History(tmp_path / "logs", volume_on_sqlite, 1, plant=plant, clients=4,
                    world_ms=50).finish()
    assert found["illegal"] != [], found
