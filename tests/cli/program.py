"""Runs the program `skerry` against volumes of its own in temporary folders.

SKERRY_PROGRAM names the program (default: build/bindings/skerry).
"""

import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SKERRY_PROGRAM", str(ROOT / "build" / "bindings" / "skerry"))


def private_server(script, tmp_path_factory):
    """For a fixture: the folder of a server of tests/support, which stops by itself when this
    process is gone."""
    script = ROOT / "tests" / "support" / script
    folder = pathlib.Path("/tmp") / f"skerry-{script.stem}-{tmp_path_factory.getbasetemp().name}-cli"
    subprocess.run([script, folder], check=True)
    yield folder
    subprocess.run([script, "--stop", folder], check=True)


class Cli:
    """`url` is put after the command's name, as a user would."""

    def __init__(self, url, env=None):
        self.url = url
        self.env = {
            key: value for key, value in os.environ.items() if key != "SKERRY_META_URL"
        } | (env or {})

    def run(self, command, *arguments, input=None, user=None, cwd=None, url=True):
        line = [PROGRAM, command] + ([self.url] if url else []) + list(arguments)
        return subprocess.run(
            line, input=input, capture_output=True, env=self.env, user=user, cwd=cwd, timeout=120
        )

    def start(self, command, *arguments):
        return subprocess.Popen(
            [PROGRAM, command, self.url, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            # A shell that starts jobs in the background has SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def __call__(self, command, *arguments, **options):
        """Runs it, expects success and silence on standard error; returns standard output."""
        result = self.run(command, *arguments, **options)
        assert result.returncode == 0, (command, arguments, result.stderr)
        assert result.stderr == b"", (command, arguments, result.stderr)
        return result.stdout

    def fails(self, command, *arguments, status=1, **options):
        """Expects failure; returns what it said."""
        result = self.run(command, *arguments, **options)
        assert result.returncode == status, (result.returncode, result.stdout, result.stderr)
        said = result.stderr.decode(errors="surrogateescape")
        assert said.startswith("skerry: ")
        return said
