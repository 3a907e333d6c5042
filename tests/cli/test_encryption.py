"""Encryption and compression, as a user types them."""

import json
import pathlib
import sqlite3

import pytest

from program import Cli

KEY = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
OTHER = "00112233445566778899aabbccddeeff102132435465768798a9babbdcedfe0f"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "other").write_text(OTHER)
    return tmp_path


def volume(place, *options):
    cli = Cli(f"sqlite://{place}/vol.db")
    cli("format", "--inline", "0", *options)
    return cli


def key_of(place, name="key"):
    return f"file:{place}/{name}"


def everything_stored(place):
    return b"".join(
        path.read_bytes()
        for path in pathlib.Path(place).rglob("*")
        if path.is_file() and path.name not in ("key", "other")
    )


def test_a_volume_is_encrypted_from_the_start(place):
    cli = volume(place, "--encryption-key", key_of(place), "--compression", "zstd")
    opened = ["-o", f"encryption_key={key_of(place)}"]
    data = b"a line that repeats\n" * 5000
    cli("put", *opened, "-", "/file", input=data)
    assert cli("cat", *opened, "/file") == data
    assert cli("cat", "-o", f"encryption_key=command:cat {place}/key", "/file") == data
    said = cli.fails("cat", "/file")
    assert "encryption_key=file:/path" in said
    assert "is encrypted with the key" in cli.fails(
        "cat", "-o", f"encryption_key={key_of(place, 'other')}", "/file"
    )
    status = cli("status", "--json", *opened)
    info = json.loads(status)
    assert info["compression"] == "zstd"
    assert info["encryption"]["cipher"] == "AES-256-GCM"
    assert info["encryption"]["key_source"] == "file"
    assert info["encryption"]["key_id"] in said
    assert KEY not in status.decode() + said
    stored = everything_stored(place)
    assert b"a line that repeats" not in stored
    assert KEY.encode() not in stored and bytes.fromhex(KEY) not in stored
    cli("fsck", *opened, "--check-data")


def test_a_volume_in_plain_is_encrypted_later(place):
    cli = volume(place)
    cli("put", "-", "/old", input=b"old data" * 1000)
    cli("configure", "--encryption-key", key_of(place), "--compression", "lz4")
    opened = ["-o", f"encryption_key={key_of(place)}"]
    cli("put", *opened, "-", "/new", input=b"new data" * 1000)
    assert cli("cat", *opened, "/old") == b"old data" * 1000
    assert cli("cat", *opened, "/new") == b"new data" * 1000
    assert "encrypted already" in cli.fails("configure", "--encryption-key", key_of(place))
    stored = everything_stored(place)
    assert b"old data" in stored and b"new data" not in stored
    assert "nothing to change" in cli.fails("configure")


def test_the_key_is_rotated(place):
    cli = volume(place, "--encryption-key", key_of(place))
    cli("put", "-o", f"encryption_key={key_of(place)}", "-", "/file", input=b"data" * 5000)
    rotate = ["--encryption-key", key_of(place), "--new-encryption-key", key_of(place, "other")]
    cli("rotate-key", *rotate, "--new-data-key")
    opened = ["-o", f"encryption_key={key_of(place, 'other')}"]
    assert cli("cat", *opened, "/file") == b"data" * 5000
    cli.fails("cat", "-o", f"encryption_key={key_of(place)}", "/file")
    said = cli.fails("rotate-key", *rotate)
    assert KEY not in said and OTHER not in said
    info = json.loads(cli("status", "--json", *opened))
    assert info["encryption"]["data_keys"] == 2
    assert KEY not in cli.fails("rotate-key", "--encryption-key", KEY, "--new-data-key")


def test_older_software_refuses(place):
    volume(place, "--compression", "zstd")
    with sqlite3.connect(place / "vol.db") as database:
        (text,) = database.execute(
            "SELECT value FROM volume WHERE CAST(name AS TEXT) = 'format'"
        ).fetchone()
    database.close()
    assert json.loads(text)["incompatible"] == ["framed-objects"]
