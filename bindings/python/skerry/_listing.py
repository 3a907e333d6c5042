"""Directory listings: pages of entries with their attributes, in byte order of names."""

from __future__ import annotations

import ctypes
import os
import stat as stat_module
from typing import TYPE_CHECKING, Any, Generic, Iterator, List, Optional, Tuple, TypeVar

from . import _abi
from ._handle import Handle

if TYPE_CHECKING:
    from .volume import Volume

_PAGE = 512

AnyStr = TypeVar("AnyStr", str, bytes)


class DirEntry(Generic[AnyStr]):
    """As os.DirEntry. The attributes came with the listing: stat() costs nothing, but follows
    symlinks unless told otherwise."""

    __slots__ = ("name", "path", "_volume", "_stat")

    def __init__(self, volume: "Volume", name: AnyStr, path: AnyStr, stat: _abi.Stat) -> None:
        self._volume = volume
        self.name = name
        self.path = path
        self._stat = stat

    def inode(self) -> int:
        return int(self._stat.ino)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if follow_symlinks and self.is_symlink():
            return self._volume.stat(self.path)
        return self._volume._stat_result(self._stat)

    def is_symlink(self) -> bool:
        return stat_module.S_ISLNK(self._stat.mode)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat_module.S_ISDIR(self._mode(follow_symlinks))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return stat_module.S_ISREG(self._mode(follow_symlinks))

    def _mode(self, follow_symlinks: bool) -> int:
        if not follow_symlinks or not self.is_symlink():
            return int(self._stat.mode)
        try:
            return self._volume.stat(self.path).st_mode
        except FileNotFoundError:
            return 0

    def __fspath__(self) -> AnyStr:
        return self.path

    def __repr__(self) -> str:
        return f"<skerry.DirEntry {self.name!r}>"


class Listing:
    """Pages of (name, attributes), without "." and "..". One thread at a time."""

    def __init__(self, volume: "Volume", path: Any, after: Optional[bytes] = None) -> None:
        self._volume = volume
        library = _abi.library()
        pointer = ctypes.c_void_p()
        with volume._handle as opened:
            code = library.opendir(
                opened, volume._context, _abi.encode(path), 1, after, ctypes.byref(pointer)
            )
            if code < 0:
                _abi.fail(code, path)
        assert pointer.value is not None
        self._path = path
        self._entries = (_abi.Dirent * _PAGE)()
        self._handle = Handle(pointer.value, library.closedir, "the listing is closed")

    def page(self) -> List[Tuple[bytes, _abi.Stat]]:
        """Empty at the end."""
        with self._volume._handle, self._handle as pointer:
            count = _abi.library().readdir(pointer, self._volume._context, self._entries, _PAGE)
            if count < 0:
                _abi.fail(count, self._path)
            out = []
            for index in range(count):
                entry = self._entries[index]
                out.append((entry.name, _abi.Stat.from_buffer_copy(entry.stat)))
        return out

    def close(self) -> None:
        self._handle.close()

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._handle.close()


class ScandirIterator(Generic[AnyStr]):
    """As what os.scandir returns: an iterator and a context manager."""

    def __init__(self, volume: "Volume", path: AnyStr) -> None:
        self._volume = volume
        self._is_bytes = isinstance(path, bytes)
        self._path = path
        self._listing: Optional[Listing] = Listing(volume, path)
        self._ready: Iterator[Tuple[bytes, _abi.Stat]] = iter(())

    def __iter__(self) -> "ScandirIterator[AnyStr]":
        return self

    def __next__(self) -> DirEntry[AnyStr]:
        while True:
            for raw_name, stat in self._ready:
                name: Any = raw_name if self._is_bytes else os.fsdecode(raw_name)
                return DirEntry(self._volume, name, os.path.join(self._path, name), stat)
            if self._listing is None:
                raise StopIteration
            page = self._listing.page()
            if not page:
                self.close()
                raise StopIteration
            self._ready = iter(page)

    def close(self) -> None:
        self._ready = iter(())
        if self._listing is not None:
            self._listing.close()
            self._listing = None

    def __enter__(self) -> "ScandirIterator[AnyStr]":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
