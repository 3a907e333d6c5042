"""What cannot work is refused with a sentence that names the thing and says what to do."""

import errno
import shutil
import socket
import subprocess
import threading
import time

import pytest

import skerry
from servers import Postgres


def refused(url, code, *words, within=8):
    """`words` are in the sentence; no password is."""
    began = time.monotonic()
    with pytest.raises(OSError) as caught:
        skerry.Volume(url)
    assert time.monotonic() - began < within
    said = str(caught.value)
    assert caught.value.errno == code, said
    assert [word for word in words if word not in said] == [], said
    assert "s3cret" not in said
    return said


@pytest.fixture(scope="module")
def login(session_folder):
    """A server that asks for passwords, and has a certificate for "db.example"."""
    server = Postgres(session_folder / "login")
    server.run("CREATE ROLE me LOGIN PASSWORD 's3cret'", "CREATE ROLE reader LOGIN",
               "CREATE DATABASE closed", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    for name in ("server.crt", "server.key"):
        (server.data / name).touch(mode=0o600)
    subprocess.run(["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj",
                    "/CN=db.example", "-out", server.data / "server.crt", "-keyout",
                    server.data / "server.key"], check=True, capture_output=True)
    shutil.copy(server.data / "server.crt", server.folder / "ca.crt")
    (server.folder / "ca.crt").chmod(0o644)
    for name in ("server.crt", "server.key"):
        shutil.chown(server.data / name, "postgres", "postgres")
    (server.data / "pg_hba.conf").write_text("local all all trust\n"
                                             "hostssl all postgres 127.0.0.1/32 trust\n"
                                             "host all me 127.0.0.1/32 scram-sha-256\n"
                                             "host all reader 127.0.0.1/32 trust\n"
                                             "host all no_such 127.0.0.1/32 trust\n")
    server.reload(ssl="on")
    yield server
    server.stop()


def at(server, rest="", user="postgres", database="postgres"):
    return f"postgres://{user}@127.0.0.1:{server.port}/{database}{rest}"


def test_urls():
    refused("postgres:/host/db", errno.EINVAL, "postgres://user@host/database")
    refused("postgrex://me:s3cret@host/db", errno.ENOTSUP, "postgrex", "postgres://")
    refused("postgres:me:s3cret@host/db", errno.EINVAL, "not a URL", "postgres://")
    refused("postgres://me:s3cret@host/db?no_such=1", errno.EINVAL, "postgres://user@host")
    refused("postgres://me:s3cret@host:port/db", errno.EINVAL, "port", "correct the metadata URL")
    refused("postgres://me:s3cret@host:99999/db", errno.EINVAL, "99999", "correct")
    refused("postgres://me:s3cret@host/db?sslmode=yes", errno.EINVAL, "sslmode", "yes", "correct")
    refused("postgres://host/db?target_session_attrs=master", errno.EINVAL, "master", "correct")
    refused("postgres://host/db?schema=pg_mine", errno.EINVAL, "schema=")
    refused("postgres://no-such-host.invalid/db", errno.EIO, "no-such-host.invalid", "check host",
            within=30)


def test_nobody_or_somebody_else_is_there():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        refused(f"postgres://127.0.0.1:{port}/db", errno.EIO, f"{port}", "refused",
                "that the server runs")
        nobody.listen(8)

        def answer():
            while True:
                try:
                    with nobody.accept()[0] as client:
                        client.recv(1000)
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        for mode in ("disable", "prefer", "require"):
            refused(f"postgres://127.0.0.1:{port}/db?sslmode={mode}", errno.EIO, f"{port}",
                    "not PostgreSQL", "host and port")
        nobody.shutdown(socket.SHUT_RDWR)


def test_a_server_that_says_nothing():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)
        port = mute.getsockname()[1]
        refused(f"postgres://127.0.0.1:{port}/db?connect_timeout=1", errno.ETIMEDOUT, f"{port}",
                "no connection in time", "can be reached")


def test_who_may_come_in(login, tmp_path):
    refused(at(login, user="me:wr0ng"), errno.EACCES, "authentication failed", "the password")
    for rest in ("", f"?passfile={tmp_path}/none"):
        refused(at(login, rest, user="me"), errno.EACCES, "password file", "passfile", "PGPASSWORD")
    refused(at(login, user="no_such"), errno.EACCES, "no_such", "check the user")
    refused(at(login, "?sslmode=disable"), errno.EACCES, "pg_hba.conf")
    refused(at(login, user="reader", database="closed"), errno.EACCES, "closed",
            "GRANT CONNECT")
    refused(at(login, database="missing"), errno.ENOENT, "missing", "createdb")
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    passwords.write_text(f"127.0.0.1:{login.port}:*:me:s3cret\n")
    refused(at(login, f"?passfile={passwords}", user="me"), errno.ENOENT, "skerry format")


def test_services(login, tmp_path, monkeypatch):
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    refused("postgres://?service=mine", errno.EINVAL, "services", "not found", "PGSERVICEFILE")
    (tmp_path / "services").write_text(
        f"[other]\nhost=127.0.0.1\nport={login.port}\nuser=postgres\ndbname=postgres\n")
    refused("postgres://?service=mine", errno.EINVAL, '"mine" not found', "PGSERVICEFILE")
    refused("postgres://?service=other", errno.ENOENT, "skerry format")


def test_tls(login, server):
    refused(server.url("x").replace("sslmode=disable", "sslmode=require"), errno.EIO,
            "does not support SSL", "ssl = on", "sslmode")
    ca = login.folder / "ca.crt"
    refused(at(login, "?sslmode=require"), errno.ENOENT, "skerry format")
    refused(at(login, "?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"),
            errno.EIO, "certificate", "sslrootcert")
    refused(at(login, "?sslmode=verify-full&sslrootcert=/nowhere/ca.crt"), errno.EIO,
            "/nowhere/ca.crt", "sslrootcert")
    refused(at(login, f"?sslmode=verify-full&sslrootcert={ca}"), errno.EIO, "db.example",
            "does not match", "the host there")
    refused(at(login, f"?sslmode=verify-ca&sslrootcert={ca}"), errno.ENOENT, "skerry format")


def test_what_is_in_the_database(login, tmp_path):
    url = at(login, "?schema=v")
    storage = f"file://{tmp_path}/data"
    with pytest.raises(OSError) as caught:
        skerry.format(at(login, "?schema=v", user="reader"), storage=storage)
    assert caught.value.errno == errno.EACCES and "GRANT CREATE" in str(caught.value)
    login.run("CREATE SCHEMA theirs", "CREATE TABLE theirs.theirs(x integer)",
              "CREATE SCHEMA alike", "CREATE TABLE alike.skerry_layout(version text)")
    refused(at(login, "?schema=theirs"), errno.EINVAL, "theirs", "another program", "schema=")
    refused(at(login, "?schema=alike"), errno.EINVAL, "alike", "another program", "schema=")
    skerry.format(url, storage=storage)
    reader = at(login, "?schema=v", user="reader")
    refused(reader, errno.EACCES, "permission denied for schema v", "grant")
    login.run("GRANT USAGE ON SCHEMA v TO reader",
              "GRANT SELECT ON ALL TABLES IN SCHEMA v TO reader")
    refused(reader, errno.EACCES, "permission denied for table", "grant")
    with skerry.Volume(reader, read_only=1) as volume:
        assert volume.listdir("/") == []
    login.run("UPDATE v.volume SET value = convert_to(regexp_replace(convert_from(value,'UTF8'),"
              "'(format_version\"[: ]*)1','\\12'),'UTF8') WHERE name='format'")
    refused(url, errno.ENOTSUP, "format version 2", "newer version")
    login.run("UPDATE v.skerry_layout SET version = 99")
    refused(url, errno.ENOTSUP, "99", "upgrade Skerry")
    login.run("DROP TABLE v.volume")
    login.run("UPDATE v.skerry_layout SET version = 1")
    refused(url, errno.EIO, "volume", "dropped or changed by somebody")


def test_a_standby(login, server):
    server.run("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        refused(server.url("x", target_session_attrs="read-write"), errno.EIO, "read-only",
                "name all hosts")
    finally:
        server.run("SET default_transaction_read_only = off",
                   "ALTER DATABASE postgres RESET default_transaction_read_only")
