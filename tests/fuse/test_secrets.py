"""A metadata URL may hold a password: nothing that a mount shows does."""

import json
import os
import pathlib
import subprocess

import pytest

from mounts import FUSE_PROGRAM, PROGRAM, ROOT, Mount, skerry

SUPPORT = ROOT / "tests" / "support" / "postgres.sh"
PASSWORD = "s3cr3t"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The folder of a private server's socket; it trusts everybody, whatever his password."""
    folder = pathlib.Path("/tmp") / f"skerry-pg-{tmp_path_factory.getbasetemp().name}-fuse"
    subprocess.run([SUPPORT, folder], check=True)
    yield folder
    subprocess.run([SUPPORT, "--stop", folder], check=True)


def arguments_of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def test_no_password_is_shown(server, tmp_path):
    place = f"host={server}&schema=secrets"
    skerry("format", f"postgresql://postgres@/postgres?{place}", "--storage",
           f"file://{tmp_path}/data")
    point = tmp_path / "point"
    point.mkdir()
    for url, shown in (
        (f"postgresql://postgres:{PASSWORD}@/postgres?{place}",
         f"postgresql://postgres@/postgres?{place}"),
        (f"postgres://postgres:a@{PASSWORD}?@/postgres?{place}", None),
        (f"postgresql://postgres@/postgres?password={PASSWORD}&{place}",
         f"postgresql://postgres@/postgres?password=&{place}"),
        (f"postgresql://postgres@/postgres?{place}&%70assword={PASSWORD}&sslpassword={PASSWORD}",
         f"postgresql://postgres@/postgres?{place}&%70assword=&sslpassword="),
    ):
        result = subprocess.run([PROGRAM, "mount", url, point], capture_output=True, timeout=60)
        said = (result.stdout + result.stderr).decode()
        if shown is None:  # libpq does not understand it
            assert result.returncode == 1 and PASSWORD not in said
            continue
        assert (result.returncode, said) == (0, "")
        try:
            mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
            (line,) = [line for line in mounts if line.split()[4] == str(point)]
            assert line.split(" - ")[1].split()[1] == shown
            told = {name: (point / ".skerry" / name).read_text() for name in ("config", "stats")}
            config = json.loads(told["config"])["mount"]
            assert config["url"] == shown
            told["arguments"] = arguments_of(config["pid"])
            assert shown in told["arguments"]
            (point / "f").write_text("x")
            assert (point / "f").read_text() == "x"
            for place_shown, text in {**told, "mounts": "\n".join(mounts)}.items():
                assert PASSWORD not in text, place_shown
        finally:
            skerry("umount", point)


def test_failures_and_debugging_show_no_password(url, server, tmp_path):
    point = tmp_path / "point"
    point.mkdir()
    for wrong in (
        f"postgresql://postgres:{PASSWORD}@/postgres?host={server}&schema=absent",
        f"postgresql://postgres@/postgres?host={server}&schema=absent&password={PASSWORD}",
        f"postgresql://postgres:{PASSWORD}@/postgres?host={tmp_path}",
        f"postgresql://locked_out:{PASSWORD}@/postgres?host={server}",
        f"postgresql://postgres:{PASSWORD}@[broken/postgres",
        f"postgre://postgres:{PASSWORD}@/postgres?host={server}",
        f"postgres:/postgres:{PASSWORD}@/postgres",
        f"pg://postgres@/postgres?password={PASSWORD}",
    ):
        result = subprocess.run([FUSE_PROGRAM, wrong, point], capture_output=True, timeout=60)
        assert result.returncode == 1
        assert result.stderr.startswith(b"skerry-fuse: ")
        assert PASSWORD.encode() not in result.stdout + result.stderr, wrong
    mount = Mount(url, point, "debug", "comment=x,x-password=" + PASSWORD)
    os.listdir(mount.path)
    arguments = arguments_of(mount.process.pid)
    said = mount.end()
    assert "LOOKUP" in said or "OPENDIR" in said
    assert PASSWORD not in said + arguments
    assert url in arguments
