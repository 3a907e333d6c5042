"""A mount with a disk cache."""

import os
import random

import pytest

from mounts import Mount, skerry, wait_until


def workload(mount, seed, rounds=60):
    """Writes, overwrites, appends and removes files, and reads each back; what there is at the end."""
    chance = random.Random(seed)
    held = {}
    for number in range(rounds):
        name = f"file{chance.randrange(12)}"
        what = chance.randrange(4)
        if what == 0 or name not in held:
            held[name] = chance.randbytes(chance.choice([100, 5_000, 70_000, 900_000, 5_000_000]))
            (mount / name).write_bytes(held[name])
        elif what == 1:
            more = chance.randbytes(50_000)
            with open(mount / name, "ab") as file:
                file.write(more)
            held[name] += more
        elif what == 2:
            at = chance.randrange(len(held[name]))
            with open(mount / name, "r+b") as file:
                file.seek(at)
                file.write(b"changed")
            held[name] = held[name][:at] + b"changed" + held[name][at + 7 :]
        else:
            os.unlink(mount / name)
            del held[name]
        for each in chance.sample(sorted(held), min(2, len(held))):
            assert (mount / each).read_bytes() == held[each], (number, each)
    return held


def test_a_full_cache_disk_is_no_error(url, mounted, tmp_path, small_disk):
    """Neither with room for a part of the data, nor with none, nor when it comes back."""
    options = f"cache_dir={small_disk}/cache,cache_size=1M"
    mount = mounted(options)
    held = workload(mount, 1)
    assert mount.stats()["disk_cache_filled_bytes"] > 0
    with open(small_disk / "ballast", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
            file.flush()
    for name in held:
        os.unlink(mount / name)
    held = workload(mount, 2)
    assert mount.stats()["disk_cache_dropped"] > 0
    other = mounted(options)
    for name, data in held.items():
        assert (other / name).read_bytes() == data
    os.unlink(small_disk / "ballast")
    filled = mount.stats()["disk_cache_filled_bytes"]

    def fills_again():
        (mount / "new").write_bytes(os.urandom(1_000_000))
        return mount.stats()["disk_cache_filled_bytes"] > filled

    wait_until(fills_again, what="the cache to be filled again")
    for name, data in held.items():
        assert (mount / name).read_bytes() == data


def test_a_second_mount_reads_from_the_first_ones_cache(url, mounted, tmp_path):
    options = f"cache_dir={tmp_path}/cache"
    data = os.urandom(6_000_000)
    first = mounted(options)
    (first / "f").write_bytes(data)
    first.end()

    def reads_without_requests():
        mount = mounted(options)
        assert (mount / "f").read_bytes() == data
        stats = mount.stats()
        mount.end()
        # It waits for the disk a moment only, so a busy machine may need several.
        return stats["object_gets"] == 0 and stats["disk_cache_hits"] > 0

    wait_until(reads_without_requests, what="a mount that needs no requests")


def test_a_cache_dir_that_can_not_be_used_is_named(url, tmp_path):
    (tmp_path / "file").write_text("x")
    mount = Mount(url, tmp_path / "point", f"cache_dir={tmp_path}/file", expect_mount=False)
    assert mount.process.wait(60) == 1
    assert f"{tmp_path}/file" in mount.end()
    assert skerry("fsck", url) == ""
