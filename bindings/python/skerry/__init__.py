"""Skerry: POSIX files over object storage, inside your process.

    import skerry

    skerry.format("sqlite:///srv/vol.db", storage="file:///srv/data")
    with skerry.Volume("sqlite:///srv/vol.db") as volume:
        with volume.open("/hello.txt", "w") as file:
            file.write("hello\\n")
        print(volume.listdir("/"))
"""

from __future__ import annotations

from typing import Any

from ._files import RawFile
from ._listing import DirEntry
from .volume import Volume, configure, format, rotate_key

__all__ = ["DirEntry", "RawFile", "Volume", "configure", "format", "rotate_key"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from . import _abi

        return _abi.library().version().decode()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
