"""The calls that concern a volume as a whole: its size, settings, counters, gc and fsck."""

from __future__ import annotations

import ctypes
import json
import os
import re
from typing import Any, Dict, Optional

from . import _abi
from ._abi import StrPath
from ._callbacks import Callbacks, Progress
from ._handle import Handle


def without_secrets(url: StrPath) -> str:
    """The URL as an error may show it."""
    text = re.sub(r"(?<=://)([^/?#@:]*):[^/?#]*@", r"\1@", os.fsdecode(url))
    text = re.sub(r":[^/?#@:]*@", "@", text)  # where the slashes were forgotten
    return re.sub(r"(?<=password=)[^&]*", "...", text)


class Administration:
    """Part of Volume, which has the attributes."""

    url: str
    _handle: Handle
    _context: Any

    def statvfs(self, path: StrPath = "/") -> os.statvfs_result:
        out = _abi.Statvfs()
        with self._handle as pointer:
            code = _abi.library().statvfs(pointer, self._context, ctypes.byref(out))
            if code < 0:
                _abi.fail(code, path)
        unit = 4096
        free = max(out.total_bytes - out.used_bytes, 0) // unit
        free_inodes = max(out.total_inodes - out.used_inodes, 0)
        return os.statvfs_result(
            (
                out.block_bytes,
                unit,
                out.total_bytes // unit,
                free,
                free,
                out.total_inodes,
                free_inodes,
                free_inodes,
                0,
                out.name_max,
            )
        )

    def info(self) -> Dict[str, Any]:
        """Format, storage, UUID, features, sessions, usage."""
        size = 16 << 10
        while True:
            buffer = ctypes.create_string_buffer(size)
            with self._handle as pointer:
                actual = _abi.library().volume_info(pointer, self._context, buffer, size)
                if actual < 0:
                    _abi.fail(actual, without_secrets(self.url))
            if actual < size:
                return json.loads(buffer.value)
            size = actual * 2

    def counters(self) -> Dict[str, int]:
        """What this volume has done in this process since it was opened."""
        library = _abi.library()
        with self._handle as pointer:
            count = max(library.counters(pointer, None, 0), 0)
            array = (_abi.Counter * (count + 16))()
            filled = library.counters(pointer, array, len(array))
            if filled < 0:
                _abi.fail(filled, without_secrets(self.url))
        return {os.fsdecode(c.name): c.value for c in array[: min(filled, len(array))]}

    def sync(self) -> None:
        """Everything written and changed through this volume is durable when it returns."""
        with self._handle as pointer:
            code = _abi.library().sync(pointer, self._context)
            if code < 0:
                _abi.fail(code, without_secrets(self.url))

    def compact(self, path: StrPath) -> int:
        """Rewrites the fragmented chunks of a file; returns how many."""
        with self._handle as pointer:
            code = _abi.library().compact(pointer, self._context, _abi.encode(path))
            if code < 0:
                _abi.fail(code, path)
        return int(code)

    def gc(self, *, dry_run: bool = False, progress: Optional[Progress] = None) -> Dict[str, int]:
        """Deletes what nothing refers to. `progress(what, done, total)` may return True to stop."""
        options = _abi.GcOptions(ctypes.sizeof(_abi.GcOptions), int(dry_run))
        result = _abi.GcResult()
        with Callbacks(progress) as callbacks, self._handle as pointer:
            code = _abi.library().gc(
                pointer,
                self._context,
                ctypes.byref(options),
                ctypes.byref(result),
                callbacks.progress,
                None,
            )
            callbacks.check(code, without_secrets(self.url))
        return {name: getattr(result, name) for name, _ in _abi.GcResult._fields_}

    def fsck(
        self, *, check_data: bool = False, progress: Optional[Progress] = None
    ) -> Dict[str, Any]:
        """Checks the volume and changes nothing. "problems" is a list of (kind, sentence);
        "surplus_objects" counts what a client that died has left for gc."""
        options = _abi.FsckOptions(ctypes.sizeof(_abi.FsckOptions), int(check_data))
        result = _abi.FsckResult()
        with Callbacks(progress) as callbacks, self._handle as pointer:
            code = _abi.library().fsck(
                pointer,
                self._context,
                ctypes.byref(options),
                ctypes.byref(result),
                callbacks.problem,
                callbacks.progress,
                None,
            )
            callbacks.check(code, without_secrets(self.url))
        out: Dict[str, Any] = {
            name: getattr(result, name) for name, _ in _abi.FsckResult._fields_
        }
        out["problems"] = callbacks.problems
        return out
