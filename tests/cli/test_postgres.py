"""The program on volumes in PostgreSQL."""

import json
import subprocess
import threading

import pytest

from program import Cli, private_server
from test_bench import check_results


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The folder of a private server's socket."""
    yield from private_server("postgres.sh", tmp_path_factory)


def volume_url(server, name, user="postgres"):
    return f"postgresql://{user}@/postgres?host={server}&schema={name}"


@pytest.fixture
def cli(server, tmp_path, request):
    made = Cli(volume_url(server, request.node.name))
    made("format", "--storage", f"file://{tmp_path}/data")
    return made


def tree(root):
    for number in range(40):
        folder = root / f"d{number % 7}" / f"e{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(bytes([number]) * (number * 997))
    (root / "big").write_bytes(bytes(range(256)) * 40000)
    (root / "link").symlink_to("d0")
    (root / "one").hardlink_to(root / "big")


def contents(root):
    return {
        str(path.relative_to(root)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_tree(cli, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    tree(source)
    cli("cp", "-r", str(source), ":/tree")
    cli("mv", "/tree/d0", "/tree/moved")
    cli("rm", "-r", "/tree/d1")
    cli("cp", "-r", ":/tree", str(back))
    expected = {
        name.replace("d0/", "moved/", 1) if name.startswith("d0/") else name: data
        for name, data in contents(source).items()
        if not name.startswith("d1/")
    }
    assert contents(back) == expected
    assert cli("ls", "/tree").split() == [b"big", *(f"d{n}".encode() for n in range(2, 7)), b"link",
                                          b"moved", b"one"]
    cli("fsck", "--check-data")
    status = json.loads(cli("status", "--json"))
    assert "secret" not in json.dumps(status)


def test_two_clients(cli):
    """Both append to one file and make files in one directory at the same time."""
    cli("mkdir", "/d")
    failures = []

    def client(name):
        for number in range(12):
            result = cli.run("put", "-", f"/d/{name}{number}", input=name.encode() * 5000)
            if result.returncode != 0:
                failures.append(result.stderr)

    clients = [threading.Thread(target=client, args=(name,)) for name in "abc"]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert failures == []
    names = sorted(f"{name}{number}" for name in "abc" for number in range(12))
    assert cli("ls", "/d").decode().split() == names
    assert cli("cat", "/d/b7") == b"b" * 5000
    cli("fsck", "--check-data")


def test_two_volumes_in_one_database(cli, server, tmp_path):
    other = Cli(volume_url(server, "other_volume"))
    other("format", "--storage", f"file://{tmp_path}/other")
    cli("mkdir", "/here")
    other("mkdir", "/there")
    assert cli("ls", "/") == b"here\n"
    assert other("ls", "/") == b"there\n"


def test_errors(cli, server, tmp_path):
    storage = ("--storage", f"file://{tmp_path}/more")
    assert "already" in cli.fails("format", *storage)
    nowhere = Cli(volume_url(server, "no_volume_here"))
    assert "skerry format" in nowhere.fails("ls", "/")
    assert "--storage" in nowhere.fails("format")
    wrong = Cli(volume_url(server, "no_volume_here", "locked_out:wr0ng"))
    said = wrong.fails("ls", "/")
    assert "check the user and the password" in said
    assert "wr0ng" not in said
    said = Cli("postgres://me:wr0ng@[broken/db").fails("ls", "/")
    assert "wr0ng" not in said
    said = Cli("postgres://me:wr0ng@/db?host=/nowhere&schema=x").fails("format", *storage)
    assert "check host" in said and "wr0ng" not in said


def test_bench(cli, server):
    said = cli(
        "bench", "meta", cli.url, "--json", "--callers", "1,4", "--files", "40", "--rounds", "1",
        url=False,
    )
    check_results(json.loads(said)["results"], (1, 4))
    assert cli("ls", "/") == b""
    schemas = subprocess.run(
        ["psql", "-qXAt", "-h", server, "-U", "postgres", "-d", "postgres",
         "-c", "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'skerry_bench%'"],
        check=True, capture_output=True,
    )
    assert schemas.stdout == b""
