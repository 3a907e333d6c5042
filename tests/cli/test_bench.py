"""skerry bench: what it measures, and that it leaves nothing behind."""

import json

OPERATIONS = {"create", "stat", "open", "list", "rename", "unlink"}


def bench(cli, *arguments):
    return cli("bench", "meta", cli.url, *arguments, url=False)


def check_results(results, callers):
    assert {(row["operation"], row["callers"]) for row in results} == {
        (operation, number) for operation in OPERATIONS for number in callers
    }
    for row in results:
        assert row["rate"] > 0 and row["p99_us"] >= row["p50_us"] > 0, row
        assert row["floor_rate"] > 0 and row["ratio"] > 0, row
    # One transaction each; the directory and its name may have to be read before.
    for row in results:
        if row["operation"] in ("create", "rename", "unlink"):
            assert row["round_trips"] >= 1, row


def test_sqlite(cli, tmp_path):
    before = {path.name for path in tmp_path.iterdir()}
    document = json.loads(
        bench(cli, "--json", "--callers", "1,3", "--files", "30", "--rounds", "1")
    )
    check_results(document["results"], (1, 3))
    assert "SQLite" in document["floor"]
    assert cli("ls", "/") == b""
    made = {path.name for path in tmp_path.iterdir()} - before
    assert not [name for name in made if "bench" in name]


def test_one_directory_and_no_floor(cli):
    table = bench(
        cli, "--callers", "2", "--files", "20", "--depth", "3", "--one-directory", "--no-floor"
    )
    assert {line.split()[0].decode() for line in table.splitlines()[1:]} == OPERATIONS
    assert cli("ls", "/") == b""


def test_wrong_usage(cli):
    for arguments in (
        ["bench"],
        ["bench", "disk", cli.url],
        ["bench", "meta", cli.url, "--callers", "0"],
        ["bench", "meta", cli.url, "/"],
    ):
        assert cli.run(*arguments, url=False).returncode == 2
