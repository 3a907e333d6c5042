"""The program on volumes whose data is in S3."""

import json
import os

import pytest

from program import Cli, private_server
from test_postgres import contents, tree


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The folder of a private server."""
    yield from private_server("s3.sh", tmp_path_factory)


@pytest.fixture
def endpoint(server, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(server / "credentials"))
    return (server / "endpoint").read_text().strip()


@pytest.fixture
def cli(endpoint, tmp_path, request):
    made = Cli(f"sqlite://{tmp_path}/vol.db")
    made("format", "--storage", f"s3://cli/{request.node.name}?endpoint={endpoint}")
    return made


def test_tree(cli, tmp_path, server, request):
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    tree(source)
    cli("cp", "-r", str(source), ":/tree")
    cli("mv", "/tree/d0", "/tree/moved")
    cli("get", "-r", "/tree", str(back))
    expected = {
        path.replace("d0/", "moved/") if path.startswith("d0/") else path: data
        for path, data in contents(source).items()
    }
    assert contents(back) == expected
    assert cli("fsck", "--check-data") == b""
    stored = [path for path in (server / "data" / "cli" / request.node.name).rglob("*")
              if path.is_file()]
    assert len(stored) > 2
    cli("rm", "-r", "/tree")
    assert cli("ls", "/") == b""


def test_an_endpoint_from_the_environment(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    cli = Cli(f"sqlite://{tmp_path}/vol.db")
    cli("format", "--storage", "s3://cli/environment")
    (tmp_path / "f").write_bytes(os.urandom(100_000))
    cli("put", str(tmp_path / "f"), "/f")
    cli("get", "/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "f").read_bytes()


def test_a_prefix_belongs_to_one_volume(cli, endpoint, tmp_path, request):
    uuid = json.loads(cli("status", "--json"))["uuid"]
    other = Cli(f"sqlite://{tmp_path}/other.db")
    said = other.fails("format", "--storage", f"s3://cli/{request.node.name}?endpoint={endpoint}")
    assert f"holds the data of volume {uuid}" in said
    assert "skerry-volume" in said


def test_secrets_stay_secret(cli, tmp_path):
    secret = b"not/a+secret"
    assert secret not in cli("status")
    assert secret not in (tmp_path / "vol.db").read_bytes()
    (tmp_path / "wrong").write_text("[default]\naws_access_key_id=skerry-tests\n"
                                    "aws_secret_access_key=geheim\n")
    (tmp_path / "large").write_bytes(os.urandom(100_000))
    other = Cli(cli.url, env={"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "wrong")})
    said = other.fails("put", str(tmp_path / "large"), "/large")
    assert "403 SignatureDoesNotMatch" in said
    assert "geheim" not in said


@pytest.mark.parametrize("storage, told", [
    ("s3://cli/x?endpoint=127.0.0.1:1", "no http(s)://host"),
    ("s3://a:b@cli/x", "credentials do not belong"),
    ("s3://cli/x?colour=blue", 'unknown parameter "colour"'),
    ("s3://cli/x?endpoint=http://127.0.0.1:1", "Failed to connect"),
])
def test_bad_storage(endpoint, tmp_path, storage, told):
    cli = Cli(f"sqlite://{tmp_path}/vol.db")
    assert told in cli.fails("format", "--storage", storage)


def test_no_credentials(endpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    cli = Cli(f"sqlite://{tmp_path}/vol.db")
    said = cli.fails("format", "--storage", f"s3://cli/x?endpoint={endpoint}")
    assert "set AWS_ACCESS_KEY_ID" in said
