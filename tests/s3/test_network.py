"""Networks to the object store that fail. What was acknowledged is there, byte for byte; every call
ends by its deadline."""

import errno
import os
import random
import threading
import time

import pytest

import skerry
from servers import wait_until

TIMEOUT = 4
SLACK = 2.5
PATIENT = {"background": 0, "readahead": "256K", "connect_timeout": "1s", "first_byte_timeout": "1s",
           "stall_timeout": "1s"}
BLOCK = 1 << 16


class Place:
    """A volume whose data is behind the network."""

    def __init__(self, network, folder, name):
        self.url = f"sqlite://{folder}/vol.db"
        skerry.format(self.url, block_size="64K", inline=0,
                      storage=f"s3://network/{name}?endpoint=http://127.0.0.1:{network.port}")

    def open(self, **options):
        return skerry.Volume(self.url, **(PATIENT | {"timeout": "60s"} | options))

    def write(self, volume, path, data):
        with volume.open(path, "wb") as file:
            file.write(data)

    def read(self, path, **options):
        """As a client that has nothing in its memory."""
        with self.open(**options) as volume, volume.open(path, "rb") as file:
            return file.read()


@pytest.fixture
def place(network, tmp_path, request):
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    made = Place(network, tmp_path, name)
    yield made
    network.heal()
    with made.open() as volume:
        volume.gc()
        assert volume.fsck(check_data=True)["problems"] == []


@pytest.mark.parametrize("toxic", [
    ("latency", {"latency": 40, "jitter": 30}),
    ("bandwidth", {"rate": 2000}),
    ("slicer", {"average_size": 3000, "size_variation": 2000, "delay": 100}),
    ("limit_data", {"bytes": 300_000}),  # and the connection ends, in the middle of a body mostly
    ("limit_data", {"bytes": 70_000}),
], ids=lambda toxic: f"{toxic[0]}-{list(toxic[1].values())[0]}")
@pytest.mark.parametrize("stream", ["downstream", "upstream"])
def test_networks(place, network, toxic, stream):
    kind, attributes = toxic
    files = {f"/f{i}": os.urandom(300_000 + i) for i in range(4)}
    network.add(kind, stream, **attributes)
    with place.open() as volume:
        for path, data in files.items():
            place.write(volume, path, data)
    for path, data in files.items():
        assert place.read(path) == data


def test_connections_are_cut_again_and_again(place, network):
    written, stop = {}, threading.Event()

    def write():
        with place.open() as volume:
            while not stop.is_set():
                path, data = f"/f{len(written)}", random.randbytes(400_000)
                place.write(volume, path, data)
                written[path] = data

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(8):
        seen = len(written)
        wait_until(lambda: len(written) > seen, what="a file")
        network.cut()
        time.sleep(0.05)
        network.heal()
    stop.set()
    writer.join(timeout=60)
    assert not writer.is_alive() and len(written) >= 8
    for path, data in list(written.items())[::4]:
        assert place.read(path) == data


@pytest.mark.parametrize("stream", ["downstream", "upstream"])
def test_a_black_hole(place, network, stream):
    """Whatever is sent is taken, and nothing comes back."""
    data = os.urandom(3 * BLOCK)
    with place.open() as volume:
        place.write(volume, "/before", data)
    network.add("timeout", stream, timeout=0)
    with place.open(timeout=f"{TIMEOUT}s") as volume:
        with volume.open("/before", "rb") as file:
            began = time.monotonic()
            with pytest.raises(OSError) as late:
                file.read()
            assert time.monotonic() - began < TIMEOUT + SLACK
            assert late.value.errno == errno.ETIMEDOUT
        file = volume.open("/after", "wb", buffering=0)
        file.write(data)
        began = time.monotonic()
        with pytest.raises(OSError) as late:
            file.fsync()
        assert time.monotonic() - began < TIMEOUT + SLACK
        assert late.value.errno == errno.ETIMEDOUT
        network.heal()
        file.fsync()  # it was kept
        file.close()
    assert place.read("/before") == data
    assert place.read("/after") == data


def test_a_store_that_stands_still_amid_an_answer(place, network):
    data = os.urandom(8 * BLOCK)
    with place.open() as volume:
        place.write(volume, "/f", data)
    network.add("bandwidth", "downstream", rate=1)
    stopped = threading.Timer(3, network.heal)
    stopped.start()
    began = time.monotonic()
    assert place.read("/f") == data
    assert time.monotonic() - began < 20
    stopped.join()
