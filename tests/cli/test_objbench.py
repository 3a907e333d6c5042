"""skerry objbench: what it says of stores, and that it leaves nothing behind."""

import json
import os
import signal
import time

import pytest

from program import Cli
from test_s3 import endpoint, server  # noqa: F401: fixtures

CHECKS = {
    "put and get", "ranges", "wrong range", "head", "absent key", "overwrite", "list",
    "conditional put", "delete", "batch delete", "odd keys", "multipart",
}


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def check_nothing_left(folder):
    """But for the folders that a local store makes for itself when it is opened."""
    assert {path.name for path in folder.rglob("*")} <= {".tmp", ".uploads"}


def check_document(document, verdicts):
    assert {row["check"] for row in document["checks"]} == CHECKS
    for row in document["checks"]:
        assert row["verdict"] in verdicts, row
        assert (row["advice"] == "") == (row["verdict"] == "ok"), row
    assert [(row["operation"], row["object_bytes"], row["callers"]) for row in document["rates"]] == [
        (operation, size, callers)
        for size in (4 << 20, 128 << 10) for callers in (1, 16) for operation in ("put", "get")
    ]
    for row in document["rates"]:
        assert row["requests"] > 0 and row["rate"] > 0 and row["p99_ms"] >= row["p50_ms"] > 0, row


def test_folder(tmp_path):
    document = json.loads(Cli(f"file://{tmp_path}")("objbench", "--json"))
    check_document(document, {"ok", "lacks"})
    check_nothing_left(tmp_path)


def test_s3(endpoint, server):  # noqa: F811
    Cli(f"sqlite://{server}/vol.db")("format", "--storage", f"s3://cli/vol?endpoint={endpoint}")
    document = json.loads(Cli(f"s3://cli/objbench?endpoint={endpoint}")("objbench", "--json"))
    check_document(document, {"ok"})
    assert files(server / "data" / "cli" / "objbench") == []


def test_lines(tmp_path):
    lines = Cli(f"file://{tmp_path}")("objbench", "--no-rates").decode().splitlines()
    assert {line[:16].rstrip() for line in lines} == CHECKS
    assert all(line[17:] == "ok" or line[17:].startswith("lacks: ") for line in lines)


def test_interrupted(tmp_path):
    running = Cli(f"file://{tmp_path}").start("objbench")
    deadline = time.monotonic() + 30
    while not [path for path in files(tmp_path) if "rate" in path.parts]:
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    check_nothing_left(tmp_path)


@pytest.mark.parametrize("url, sentence", [
    ("file:///no/such/folder", "cannot be reached"),
    ("http://127.0.0.1/", "is not supported"),
])
def test_no_store(url, sentence):
    assert sentence in Cli(url).fails("objbench")


def test_wrong_usage():
    Cli("file:///a").fails("objbench", "file:///b", status=2)
    Cli("").fails("objbench", url=False, status=2)
