"""The primary of three servers is killed under load, again and again: clients find the new one by
themselves, every acknowledged operation is there, none was done twice, none hangs.

SKERRY_TEST_KILLS says how often (default 3)."""

import os
import time

import pytest

import skerry
from cluster import Cluster
from histories import History
from load import Load
from test_history import expect_linearizable


@pytest.fixture(scope="module")
def cluster(session_folder):
    made = Cluster(session_folder / "cluster")
    yield made
    made.end()


class Volume:
    def __init__(self, cluster, name, folder):
        self.url = cluster.url(name)
        skerry.format(self.url, storage=f"file://{folder}/data")


def under_load(cluster, folder, name, times, strike):
    """Does `strike` so many times while processes work on a volume. For how long the longest call
    took."""
    volume = Volume(cluster, name, folder)
    load = Load(volume, volume.url, threads=2, timeout="50s")
    history = History(folder / "logs", volume.url, 36_000, clients=6, world_ms=1000,
                      timeout_ms=50_000)
    took = []
    try:
        for _ in range(times):
            load.wait_for(20)
            began = time.monotonic()
            strike()
            load.wait_for(3, timeout=60)
            took.append(time.monotonic() - began)
            cluster.wait_until_whole()
        load.wait_for(20)
    except BaseException:
        cluster.explain()
        raise
    finally:
        history.stop()
    load.finish()
    found = history.finish()
    print(f"{name}: {times} times, {load.acknowledged} acknowledged, seconds until the next one:",
          [round(seconds, 1) for seconds in took])
    expect_linearizable(found)
    assert found["unknown"] == 0
    assert found["longest_ms"] < 50_000


def test_the_primary_is_killed(cluster, tmp_path):
    def kill():
        primary = cluster.primary()
        primary.kill()
        wait = time.monotonic()
        cluster.primary()
        primary.start()
        print("a new primary after", round(time.monotonic() - wait, 1), "s")

    under_load(cluster, tmp_path, "killed", int(os.environ.get("SKERRY_TEST_KILLS", "3")), kill)


def test_the_primary_is_changed_by_plan(cluster, tmp_path):
    under_load(cluster, tmp_path, "planned", 1, cluster.switch_over)
