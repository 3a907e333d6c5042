"""cp, put, get: what is kept, what is reported, and that an interrupted copy can be resumed."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from program import PROGRAM
from trees import describe, make_tree


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    make_tree(root)
    yield root
    (root / "closed").chmod(0o700)


def test_tree_there_and_back_is_the_same(cli, source, tmp_path):
    cli("cp", "-r", str(source), ":/copy")
    cli("cp", "-r", ":/copy", str(tmp_path / "back"))
    assert describe(tmp_path / "back") == describe(source)


def test_holes_stay_holes(cli, source, tmp_path):
    cli("put", str(source / "sparse"), "/sparse")
    assert json.loads(cli("stat", "--json", "/sparse"))["size"] == 16 << 20
    cli("get", "/sparse", str(tmp_path / "sparse"))
    assert (tmp_path / "sparse").read_bytes() == (source / "sparse").read_bytes()
    if os.stat(source / "sparse").st_blocks * 512 < 1 << 20:
        assert os.stat(tmp_path / "sparse").st_blocks * 512 < 8 << 20


def test_inside_a_volume(cli, source, tmp_path):
    cli("put", "-r", str(source), "/one")
    before = json.loads(cli("df", "--json"))
    cli("cp", "-r", ":/one", ":/two")
    assert json.loads(cli("df", "--json"))["used_bytes"] >= before["used_bytes"]
    cli("get", "-r", "/two", str(tmp_path / "back"))
    assert describe(tmp_path / "back") == describe(source)


def test_hard_links_are_links_in_the_volume(cli, source):
    cli("put", "-r", str(source), "/copy")
    lines = cli("stat", "--json", "/copy/twin", "/copy/json/encoder.py").splitlines()
    first, second = map(json.loads, lines)
    assert first["ino"] == second["ino"]
    assert first["nlink"] == 3


def test_destination_rules(cli, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    cli("mkdir", "/dir")
    cli("cp", str(one), str(two), ":/dir")
    assert cli("ls", "/dir") == b"one\ntwo\n"
    cli("cp", str(one), ":/renamed")
    assert cli("cat", "/renamed") == b"1"
    cli("cp", ":/dir/two", ":/renamed")
    assert cli("cat", "/renamed") == b"2"
    cli("get", "/dir/one", "/dir/two", str(tmp_path / "."), url=True)
    assert "not a directory" in cli.fails("cp", str(one), str(two), ":/renamed")
    assert "is a directory" in cli.fails("cp", ":/dir", str(tmp_path))
    assert "same file" in cli.fails("cp", ":/renamed", ":/renamed")
    assert cli("cat", "/renamed") == b"2"
    assert "into itself" in cli.fails("cp", "-r", ":/dir", ":/dir/below")
    # The content of a directory into one that exists.
    cli("mkdir", "/merged")
    cli("cp", "-r", ":/dir/.", ":/merged")
    assert b"one\ntwo\n" in cli("ls", "/merged")


def test_streams(cli):
    cli("cp", "-", ":/from-stdin", input=b"piped" * 1000)
    assert cli("cp", ":/from-stdin", "-") == b"piped" * 1000
    cli("put", "-", "/other", input=b"")
    assert cli("get", "/other", "-") == b""


def test_update_skips_what_is_equal(cli, source):
    cli("cp", "-r", str(source), ":/copy")
    files = sum(len(names) for _, _, names in os.walk(source))
    again = json.loads(cli("cp", "-ruT", "--json", str(source), ":/copy"))
    assert again["files"] == 0
    assert again["failed"] == 0
    # Symlinks and fifos are made anew; every file and every further name of one is skipped.
    assert again["skipped"] == files - 3
    (source / "json" / "decoder.py").write_text("changed")
    again = json.loads(cli("cp", "-ruT", "--json", str(source), ":/copy"))
    assert again["files"] == 1
    assert cli("cat", "/copy/json/decoder.py") == b"changed"


def test_overwriting_changes_mode_and_kind(cli, tmp_path):
    file = tmp_path / "file"
    file.write_text("new")
    file.chmod(0o640)
    cli("put", "-", "/dst", input=b"a longer old content")
    cli("chmod", "777", "/dst")
    cli("put", str(file), "/dst")
    assert cli("cat", "/dst") == b"new"
    assert json.loads(cli("stat", "--json", "/dst"))["mode"] == "0640"
    cli("ln", "-s", "/elsewhere", "/symlink")
    cli("put", str(file), "/symlink")
    assert json.loads(cli("stat", "--json", "/symlink"))["type"] == "file"
    cli("mkdir", "/directory")
    assert "directory" in cli.fails("put", "-T", str(file), "/directory")


def test_failures_are_named_and_the_rest_goes_on(cli, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    cli("mkdir", "-p", "/copy/b")
    said = cli.fails("cp", "-rT", str(source), ":/copy")
    assert ":/copy/b" in said
    assert said.count("\n") == 1
    assert cli("cat", "/copy/a", "/copy/c") == b"ac"
    said = cli.fails("cp", str(source / "a"), str(source / "missing"), ":/copy")
    assert str(source / "missing") in said and "No such file" in said


def test_preserve_keeps_owner_and_access_time(cli, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    file = tmp_path / "file"
    file.write_text("x")
    os.chown(file, 1234, 5678)
    os.chmod(file, 0o4755)
    # A copy reads the file, and that may change its access time.
    times = (1_111_111_111_000_000_001, 1_222_222_222_000_000_002)
    os.utime(file, ns=times)
    cli("put", str(file), "/plain")
    os.utime(file, ns=times)
    cli("put", "-p", str(file), "/kept")
    plain = json.loads(cli("stat", "--json", "/plain"))
    kept = json.loads(cli("stat", "--json", "/kept"))
    assert (plain["uid"], plain["gid"], plain["mode"]) == (0, 0, "0755")
    assert (kept["uid"], kept["gid"], kept["mode"]) == (1234, 5678, "4755")
    assert kept["atime_ns"] == 1_111_111_111_000_000_001
    assert plain["mtime_ns"] == kept["mtime_ns"] == 1_222_222_222_000_000_002
    cli("get", "-p", "/kept", str(tmp_path / "back"))
    back = os.stat(tmp_path / "back")
    assert (back.st_uid, back.st_gid, oct(back.st_mode)) == (1234, 5678, "0o104755")


def test_summary_is_asked_for(cli, tmp_path):
    (tmp_path / "f").write_text("x")
    result = cli.run("put", "-v", str(tmp_path / "f"), "/f")
    assert result.returncode == 0
    assert b"1 files" in result.stderr
    result = cli.run("put", "--progress", str(tmp_path / "f"), "/g")
    assert result.returncode == 0


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_interrupted_copy_is_resumed(cli, tmp_path):
    source = tmp_path / "many"
    source.mkdir()
    for number in range(3000):
        directory = source / f"d{number % 10}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(os.urandom(2000) * 5)
    process = cli.start("cp", "-r", str(source), ":/many")
    wait_until(
        lambda: process.poll() is not None or len(cli.run("ls", "-R", "/many").stdout) > 5000
    )
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the copy was done before the signal came")
    assert process.returncode == 130, said
    assert said == b""
    result = json.loads(cli("cp", "-ruT", "--json", str(source), ":/many"))
    assert result["failed"] == 0
    assert result["files"] + result["skipped"] == 3000
    cli("cp", "-r", ":/many", str(tmp_path / "back"))
    assert describe(tmp_path / "back") == describe(source)
    cli("fsck", "--check-data")


def test_interrupt_while_reading_a_pipe(cli):
    process = subprocess.Popen(
        [PROGRAM, "put", cli.url, "-", "/piped"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    process.stdin.write(b"x" * 100)
    process.stdin.flush()
    wait_until(lambda: cli.run("stat", "/piped").returncode == 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.stdin.close()


def test_cost_is_told_in_requests_and_bytes(cli, source):
    done = cli.run("cp", "-r", "--cost", str(source), ":/copy")
    assert done.returncode == 0
    told = done.stderr.decode().strip().splitlines()
    assert len(told) == 1
    assert re.fullmatch(
        r"skerry: cost: metadata \d+ reads, [1-9]\d* commits; objects [1-9]\d* PUT \(.+\), "
        r"\d+ GET \(.+\), \d+ DELETE",
        told[0],
    )
