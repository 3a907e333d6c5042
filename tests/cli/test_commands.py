"""Every command, as a user types it: results, --json, sentences and exit statuses."""

import base64
import ctypes
import json
import os
import pathlib
import subprocess

import pytest

from program import PROGRAM, Cli


def lines(output):
    return [json.loads(line) for line in output.splitlines()]


def set_flags(url, path, flags):
    library = ctypes.CDLL(str(pathlib.Path(PROGRAM).parents[1] / "lib" / "libskerry.so"))
    volume = ctypes.c_void_p()
    assert library.skerry_volume_open(url.encode(), None, ctypes.byref(volume)) == 0
    assert library.skerry_setflags(volume, None, path.encode(), flags) == 0
    assert library.skerry_volume_close(volume) == 0


def put(cli, path, data=b""):
    cli("put", "-", path, input=data)


def test_format_and_status(tmp_path):
    cli = Cli(f"sqlite://{tmp_path}/vol.db")
    assert cli("format", "--storage", f"file://{tmp_path}/data", "--block-size", "1M") == b""
    assert "vol.db" in cli.fails("format")
    info = json.loads(cli("status", "--json"))
    assert isinstance(info, dict) and "1048576" in json.dumps(info)
    assert b": " in cli("status")
    assert cli.fails("format", "--block-size", "7Q")


def test_the_url_may_come_from_the_environment(cli):
    put(cli, "/file", b"x")
    preset = Cli(cli.url, {"SKERRY_META_URL": cli.url})
    assert preset("ls", url=False) == b"file\n"
    assert preset("cat", "/file", url=False) == b"x"
    assert "SKERRY_META_URL" in cli.fails("ls", url=False, status=2)


def test_ls(cli):
    cli("mkdir", "-p", "/dir/sub")
    put(cli, "/dir/file", b"12345")
    put(cli, "/dir/.hidden")
    cli("ln", "-s", "file", "/dir/link")
    assert cli("ls", "/dir") == b"file\nlink\nsub\n"
    assert cli("ls", "-a", "/dir") == b".hidden\nfile\nlink\nsub\n"
    assert cli("ls", "-d", "/dir") == b"/dir\n"
    assert cli("ls", "-p", "/dir") == b"file\nlink\nsub/\n"
    assert cli("ls", "/dir/file") == b"/dir/file\n"
    text = cli("ls", "-l", "/dir").decode()
    assert "-> file" in text and " 5 " in text and text.startswith("-rw")
    assert b"/dir/sub:" in cli("ls", "-R", "/dir")
    entries = lines(cli("ls", "-R", "--json", "/"))
    assert {entry["path"] for entry in entries} == {
        "/dir",
        "/dir/file",
        "/dir/link",
        "/dir/sub",
    }
    link = next(entry for entry in entries if entry["name"] == "link")
    assert link["target"] == "file" and link["type"] == "symlink"


def test_names_that_are_not_utf8(cli, tmp_path):
    name = b"caf\xe9 \\x"
    source = os.path.join(os.fsencode(tmp_path), name)
    with open(source, "wb") as file:
        file.write(b"bytes")
    cli("put", source, b"/")
    assert cli("ls", "/") == name + b"\n"
    assert cli("cat", b"/" + name) == b"bytes"
    (entry,) = lines(cli("ls", "--json", "/"))
    assert entry["name"] == "caf\\xe9 \\x"
    assert base64.b64decode(entry["name_base64"]) == name


def test_operands_may_have_any_name(cli):
    for name in ("[a,b]", "++", "ls", "{}", "-", "-x", "--json", "a=b"):
        put(cli, "/" + name, name.encode())
        assert cli("cat", "--", name) == name.encode()
    assert cli("ls", "ls") == b"ls\n"


def test_stat(cli):
    put(cli, "/file", b"123")
    cli("ln", "-s", "file", "/link")
    (entry,) = lines(cli("stat", "--json", "/file"))
    assert entry["size"] == 3 and entry["nlink"] == 1 and entry["type"] == "file"
    assert entry["mtime"].endswith("Z") and entry["mtime_ns"] > 10**18
    assert b"/file" in cli("stat", "/file")
    assert lines(cli("stat", "--json", "/link"))[0]["type"] == "symlink"
    assert lines(cli("stat", "-L", "--json", "/link"))[0]["type"] == "file"
    assert not entry["immutable"] and not entry["append_only"]
    assert b"Flags:" not in cli("stat", "/file")
    set_flags(cli.url, "/file", 0x30)
    (entry,) = lines(cli("stat", "--json", "/file"))
    assert entry["immutable"] and entry["append_only"]
    assert b"Flags: immutable append-only\n" in cli("stat", "/file")
    assert "immutable" in cli.fails("rm", "/file")
    set_flags(cli.url, "/file", 0)
    cli("rm", "/file")


def test_cat(cli):
    put(cli, "/a", b"one\n")
    put(cli, "/b", os.urandom(5 << 20))
    assert cli("cat", "/a", "/a") == b"one\none\n"
    assert len(cli("cat", "/b")) == 5 << 20
    result = cli.run("cat", "/missing", "/a")
    assert result.returncode == 1 and result.stdout == b"one\n"
    assert cli.fails("cat", "/")


def test_a_reader_that_goes_away(cli):
    put(cli, "/b", bytes(8 << 20))
    line = f'"{PROGRAM}" cat "{cli.url}" /b | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}'
    result = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60)
    assert result.stdout == b"141\n" and result.stderr == b""


def test_mv(cli):
    put(cli, "/a", b"a")
    put(cli, "/b", b"b")
    cli("mv", "/a", "/c")
    cli("mkdir", "/dir")
    cli("mv", "/b", "/c", "/dir")
    assert cli("ls", "/dir") == b"b\nc\n"
    assert cli.fails("mv", "-n", "/dir/b", "/dir/c")
    cli("mv", "--exchange", "/dir/b", "/dir/c")
    assert cli("cat", "/dir/b") == b"a"
    cli("mv", "-T", "/dir", "/renamed")
    assert cli("ls") == b"renamed\n"


def test_rm(cli):
    put(cli, "/file")
    cli("mkdir", "-p", "/dir/sub")
    put(cli, "/dir/sub/file")
    cli("rm", "/file")
    assert "/file" in cli.fails("rm", "/file")
    cli("rm", "-f", "/file")
    assert "-r" in cli.fails("rm", "/dir")
    assert cli.fails("rm", "-d", "/dir")
    cli("rm", "-r", "/dir")
    assert cli("ls", "-a") == b""
    assert "root" in cli.fails("rm", "-rf", "/")
    cli("mkdir", "/empty")
    cli("rm", "-d", "/empty")


def test_mkdir(cli):
    cli("mkdir", "-m", "u=rwx,g=rx,o=", "/dir")
    assert lines(cli("stat", "--json", "/dir"))[0]["mode"] == "0750"
    assert cli.fails("mkdir", "/dir")
    assert cli.fails("mkdir", "/a/b/c")
    cli("mkdir", "-p", "/a/b/c")
    cli("mkdir", "-p", "/a/b/c")
    assert cli("ls", "/a/b") == b"c\n"
    cli.fails("mkdir", "-m", "999", "/x", status=2)


def test_ln(cli):
    put(cli, "/file", b"x")
    cli("ln", "/file", "/twin")
    assert lines(cli("stat", "--json", "/twin"))[0]["nlink"] == 2
    cli("ln", "-s", "any text", "/symlink")
    assert cli.fails("ln", "-s", "other", "/symlink")
    cli("ln", "-sf", "other", "/symlink")
    assert lines(cli("stat", "--json", "/symlink"))[0]["target"] == "other"


def test_chmod(cli):
    def mode(path):
        return lines(cli("stat", "--json", path))[0]["mode"]

    cli("mkdir", "-p", "/dir")
    put(cli, "/dir/file")
    cli("chmod", "600", "/dir/file")
    assert mode("/dir/file") == "0600"
    cli("chmod", "u+x,g=u,o=r", "/dir/file")
    assert mode("/dir/file") == "0774"
    cli("chmod", "--", "-x", "/dir/file")
    assert mode("/dir/file") == "0664"
    cli("chmod", "-R", "a=rX", "/dir")
    assert (mode("/dir"), mode("/dir/file")) == ("0555", "0444")
    cli.fails("chmod", "u+q", "/dir", status=2)


def test_chown(cli):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    cli("mkdir", "/dir")
    put(cli, "/dir/file")
    cli("chown", "-R", "1234:5678", "/dir")
    for path in ("/dir", "/dir/file"):
        entry = lines(cli("stat", "--json", path))[0]
        assert (entry["uid"], entry["gid"]) == (1234, 5678)
    cli("chown", ":root", "/dir")
    assert lines(cli("stat", "--json", "/dir"))[0]["gid"] == 0
    assert lines(cli("stat", "--json", "/dir"))[0]["uid"] == 1234
    cli.fails("chown", "nobody-of-that-name", "/dir", status=2)


def test_touch(cli):
    cli("touch", "-c", "/file")
    assert cli("ls") == b""
    cli("touch", "/file")
    before = lines(cli("stat", "--json", "/file"))[0]["mtime_ns"]
    cli("touch", "/file")
    assert lines(cli("stat", "--json", "/file"))[0]["mtime_ns"] > before


def test_umask_is_the_process_s(cli):
    old = os.umask(0o027)
    try:
        put(cli, "/file")
        cli("mkdir", "/dir")
    finally:
        os.umask(old)
    assert lines(cli("stat", "--json", "/file"))[0]["mode"] == "0640"
    assert lines(cli("stat", "--json", "/dir"))[0]["mode"] == "0750"


def test_tree(cli):
    cli("mkdir", "-p", "/a/b/c")
    put(cli, "/a/file")
    text = cli("tree").decode()
    assert "├── b" in text and "│   └── c" in text and "└── file" in text
    assert "3 directories, 1 files" in text
    assert "c" not in cli("tree", "--depth", "2").decode().split("\n")[3:-2]
    entries = lines(cli("tree", "--json", "/a"))
    assert [(entry["path"], entry["depth"]) for entry in entries] == [
        ("/a", 0),
        ("/a/b", 1),
        ("/a/b/c", 2),
        ("/a/file", 1),
    ]


def test_df_and_du(cli):
    cli("mkdir", "/dir")
    put(cli, "/dir/a", bytes(10_000))
    cli("ln", "/dir/a", "/dir/b")
    assert json.loads(cli("df", "--json"))["used_bytes"] >= 10_000
    assert b"Used" in cli("df") and b"K" in cli("df", "-h")
    assert lines(cli("du", "--json", "/dir"))[-1] == {
        "path": "/dir",
        "bytes": 10_240,
        "entries": 2,
    }
    assert cli("du", "-s", "/").split()[0] == b"10240"
    assert cli("du", "-ah", "/").count(b"\n") == 4


def test_care_of_a_volume(cli):
    put(cli, "/file", os.urandom(100_000))
    cli("sync")
    result = json.loads(cli("gc", "--dry-run", "--json"))
    assert result["dry_run"] is True and result["deleted_objects"] == 0
    assert b"scanned_objects" in cli("gc")
    assert cli("fsck", "--check-data") == b""
    totals = lines(cli("fsck", "--json"))[-1]
    assert totals["problems"] == 0 and totals["files"] == 1
    cli("compact", "/file")


def test_fsck_finds_missing_data(cli, tmp_path):
    put(cli, "/file", os.urandom(300_000))
    data = tmp_path / "volume" / "vol.db.data"
    objects = [path for path in data.rglob("*") if path.is_file()]
    assert objects
    for path in objects:
        path.unlink()
    result = cli.run("fsck", "--check-data")
    assert result.returncode == 1 and result.stdout != b""
    result = cli.run("fsck", "--check-data", "--json")
    assert result.returncode == 1
    problems = lines(result.stdout)
    assert problems[-1]["problems"] >= 1 and problems[0]["kind"]


def test_version_help_completion(cli, tmp_path):
    assert cli("version", url=False).startswith(b"skerry 0.")
    assert json.loads(cli("version", "--json", url=False))["version"].count(".") == 2
    assert b"Usage: skerry" in cli("--help", url=False)
    commands = [
        line.split()[0].decode()
        for line in cli("--help", url=False).splitlines()
        if line.startswith(b"  ") and line[2:3].isalpha() and line[2:3] != b" "
    ]
    for command in set(commands) & {"ls", "cp", "rm", "fsck", "format"}:
        assert b"Usage: skerry " + command.encode() in cli(command, "--help", url=False)
    for shell in ("bash", "zsh"):
        script = cli("completion", shell, url=False)
        assert b"fsck" in script and b"--check-data" in script
    (tmp_path / "completion").write_bytes(cli("completion", "bash", url=False))
    subprocess.run(["bash", "-n", tmp_path / "completion"], check=True)
    asked = (
        f'. "{tmp_path}/completion"; COMP_WORDS=(skerry fs); COMP_CWORD=1; _skerry;'
        ' echo "${COMPREPLY[@]}"; COMP_WORDS=(skerry fsck --ch); COMP_CWORD=2; _skerry;'
        ' echo "${COMPREPLY[@]}"'
    )
    answer = subprocess.run(["bash", "-c", asked], capture_output=True, check=True)
    assert answer.stdout == b"fsck\n--check-data\n"
    cli.fails("completion", "fish", url=False, status=2)


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["ls", "--nonsense"], ["mv", "/one"], ["rm"], ["tree", "--depth", "x"], []],
)
def test_wrong_usage_is_2(cli, arguments):
    command = [PROGRAM, *arguments[:1], *([cli.url] if arguments else []), *arguments[1:]]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith(b"skerry: ")


@pytest.mark.parametrize(
    "url, word",
    [
        ("sqlite:///nowhere/at/all/vol.db", "/nowhere"),
        ("redis://localhost/1", "redis"),
        ("sqlite://relative/path.db", "relative"),
    ],
)
def test_wrong_urls_are_explained(tmp_path, url, word):
    said = Cli(url).fails("ls")
    assert word in said and len(said) > 30


def test_missing_volume_and_path(cli, tmp_path):
    said = Cli(f"sqlite://{tmp_path}/none.db").fails("ls")
    assert "none.db" in said
    assert not (tmp_path / "none.db").exists()
    assert "/missing" in cli.fails("ls", "/missing")
    assert "/missing" in cli.fails("cat", "/missing/file")


def test_no_permission(cli, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    put(cli, "/secret", b"x")
    cli("chmod", "600", "/secret")
    for path in [*tmp_path.parents][:3] + [tmp_path]:
        os.chmod(path, path.stat().st_mode | 0o755)
    for path, directories, files in os.walk(tmp_path):
        for name in directories + files:
            os.chmod(os.path.join(path, name), 0o777)
        os.chmod(path, 0o777)
    said = cli.fails("cat", "/secret", user=65534)
    assert "/secret" in said


def test_read_only(cli):
    said = cli.fails("mkdir", "-o", "read_only=1", "/x")
    assert "skerry: " in said
