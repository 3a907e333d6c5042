"""The C ABI through ctypes: structures, signatures, and how failures become exceptions.

CDLL releases the GIL around every call, so calls of several threads run at once.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import pathlib
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_size_t
from ctypes import c_uint32, c_uint64, c_void_p
from typing import Any, List, NoReturn, Optional, Sequence, Tuple, Union

StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
KEEP_ID = 0xFFFFFFFF


class Context(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("uid", c_uint32),
        ("gid", c_uint32),
        ("umask", c_uint32),
        ("groups", POINTER(c_uint32)),
        ("group_count", c_uint32),
        ("timeout_ms", c_uint32),
        ("cancel", c_void_p),
    ]


class Timespec(Structure):
    _fields_ = [("sec", c_int64), ("nsec", c_int32), ("reserved", c_int32)]

    def nanoseconds(self) -> int:
        return self.sec * 1_000_000_000 + self.nsec


class Stat(Structure):
    _fields_ = [
        ("ino", c_uint64),
        ("version", c_uint64),
        ("mode", c_uint32),
        ("nlink", c_uint32),
        ("uid", c_uint32),
        ("gid", c_uint32),
        ("rdev", c_uint64),
        ("size", c_uint64),
        ("blocks", c_uint64),
        ("blksize", c_uint32),
        ("attributes", c_uint32),
        ("atime", Timespec),
        ("mtime", Timespec),
        ("ctime", Timespec),
        ("btime", Timespec),
    ]


class Statvfs(Structure):
    _fields_ = [
        ("total_bytes", c_uint64),
        ("used_bytes", c_uint64),
        ("total_inodes", c_uint64),
        ("used_inodes", c_uint64),
        ("block_bytes", c_uint32),
        ("name_max", c_uint32),
    ]


class Counter(Structure):
    _fields_ = [("name", c_char_p), ("value", c_uint64)]


class Dirent(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("name_length", c_uint32),
        ("type", c_uint32),
        ("ino", c_uint64),
        ("stat", Stat),
    ]


class View(Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("owner", c_void_p)]


class ReadRequest(Structure):
    _fields_ = [
        ("file", c_void_p),
        ("path", c_char_p),
        ("offset", c_uint64),
        ("length", c_size_t),
        ("buffer", c_void_p),
        ("result", c_int64),
    ]


class WriteRequest(Structure):
    _fields_ = [
        ("path", c_char_p),
        ("data", c_void_p),
        ("length", c_size_t),
        ("mode", c_uint32),
        ("result", c_int32),
    ]


class GcOptions(Structure):
    _fields_ = [("struct_size", c_uint32), ("dry_run", c_int32)]


class GcResult(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "scanned_objects",
            "scanned_bytes",
            "leaked_objects",
            "leaked_bytes",
            "deleted_objects",
            "reclaimed_inodes",
            "reclaimed_objects",
            "pending_objects",
            "stale_sessions",
        )
    ]


class FsckOptions(Structure):
    _fields_ = [("struct_size", c_uint32), ("check_data", c_int32)]


class FsckResult(Structure):
    _fields_ = [
        (name, c_uint64)
        for name in (
            "directories",
            "files",
            "symlinks",
            "others",
            "orphans",
            "extents",
            "checked_bytes",
            "problems",
            "surplus_objects",
        )
    ]


ProgressFunction = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_uint64, c_uint64)
ProblemFunction = ctypes.CFUNCTYPE(None, c_void_p, c_char_p, c_char_p)

_volume = c_void_p
_file = c_void_p
_dir = c_void_p
_context = POINTER(Context)
_path = c_char_p
_out = POINTER(c_void_p)
_strings = POINTER(c_char_p)

# name: (result, arguments...)
SIGNATURES = {
    "version": (c_char_p,),
    "last_error": (c_char_p,),
    "format": (c_int, _path, _strings),
    "configure": (c_int, _path, _strings),
    "rotate_key": (c_int, _path, _strings),
    "volume_open": (c_int, _path, _strings, _out),
    "volume_close": (c_int, _volume),
    "sync": (c_int, _volume, _context),
    "statvfs": (c_int, _volume, _context, POINTER(Statvfs)),
    "volume_info": (c_int64, _volume, _context, c_void_p, c_size_t),
    "counters": (c_int, _volume, POINTER(Counter), c_size_t),
    "stat": (c_int, _volume, _context, _path, POINTER(Stat)),
    "lstat": (c_int, _volume, _context, _path, POINTER(Stat)),
    "access": (c_int, _volume, _context, _path, c_int),
    "mkdir": (c_int, _volume, _context, _path, c_uint32),
    "mkdirs": (c_int, _volume, _context, _path, c_uint32),
    "mknod": (c_int, _volume, _context, _path, c_uint32, c_uint64),
    "unlink": (c_int, _volume, _context, _path),
    "rmdir": (c_int, _volume, _context, _path),
    "symlink": (c_int, _volume, _context, _path, _path),
    "readlink": (c_int64, _volume, _context, _path, c_void_p, c_size_t),
    "link": (c_int, _volume, _context, _path, _path),
    "rename": (c_int, _volume, _context, _path, _path),
    "renameat2": (c_int, _volume, _context, _file, _path, _file, _path, ctypes.c_uint),
    "fchmodat": (c_int, _volume, _context, _file, _path, c_uint32, c_int),
    "fchownat": (c_int, _volume, _context, _file, _path, c_uint32, c_uint32, c_int),
    "setflags": (c_int, _volume, _context, _path, c_uint32),
    "utimensat": (c_int, _volume, _context, _file, _path, POINTER(Timespec), c_int),
    "truncate": (c_int, _volume, _context, _path, c_uint64),
    "setxattr": (c_int, _volume, _context, _path, _path, c_void_p, c_size_t, c_int),
    "getxattr": (c_int64, _volume, _context, _path, _path, c_void_p, c_size_t, c_int),
    "listxattr": (c_int64, _volume, _context, _path, c_void_p, c_size_t, c_int),
    "removexattr": (c_int, _volume, _context, _path, _path, c_int),
    "opendir": (c_int, _volume, _context, _path, c_int, _path, _out),
    "readdir": (c_int, _dir, _context, POINTER(Dirent), c_uint32),
    "closedir": (None, _dir),
    "open": (c_int, _volume, _context, _path, c_int, c_uint32, _out),
    "close": (c_int, _file, _context),
    "pread": (c_int64, _file, _context, c_void_p, c_size_t, c_uint64),
    "pwrite": (c_int64, _file, _context, c_void_p, c_size_t, c_uint64),
    "read_view": (c_int64, _file, _context, c_uint64, c_size_t, POINTER(View)),
    "view_release": (None, POINTER(View)),
    "fsync": (c_int, _file, _context),
    "flush": (c_int, _file, _context),
    "fstat": (c_int, _file, _context, POINTER(Stat)),
    "flock": (c_int, _file, _context, c_int),
    "ftruncate": (c_int, _file, _context, c_uint64),
    "fallocate": (c_int, _file, _context, c_uint32, c_uint64, c_uint64),
    "copy_file_range": (c_int64, _file, c_uint64, _file, c_uint64, c_uint64, _context),
    "seek_data": (c_int64, _file, _context, c_uint64, c_int),
    "read_file": (c_int64, _volume, _context, _path, c_void_p, c_size_t),
    "write_file": (c_int, _volume, _context, _path, c_void_p, c_size_t, c_uint32),
    "stat_batch": (
        c_int64,
        _volume,
        _context,
        _strings,
        c_size_t,
        c_int,
        POINTER(Stat),
        POINTER(c_int),
    ),
    "read_batch": (c_int64, _volume, _context, POINTER(ReadRequest), c_size_t),
    "write_batch": (c_int64, _volume, _context, POINTER(WriteRequest), c_size_t),
    "gc": (
        c_int,
        _volume,
        _context,
        POINTER(GcOptions),
        POINTER(GcResult),
        ProgressFunction,
        c_void_p,
    ),
    "fsck": (
        c_int,
        _volume,
        _context,
        POINTER(FsckOptions),
        POINTER(FsckResult),
        ProblemFunction,
        ProgressFunction,
        c_void_p,
    ),
    "remove_tree": (c_int, _volume, _context, _path, POINTER(c_uint64), ProgressFunction, c_void_p),
    "compact": (c_int64, _volume, _context, _path),
}


class Library:
    """The loaded library; every function of SIGNATURES is an attribute without its prefix."""

    def __init__(self, file: str) -> None:
        self.file = file
        handle = ctypes.CDLL(file)
        for name, (result, *arguments) in SIGNATURES.items():
            function = getattr(handle, "skerry_" + name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:  # for type checkers; all are set above
        raise AttributeError(name)


_library: Optional[Library] = None


def _candidates() -> List[str]:
    bundled = sorted(pathlib.Path(__file__).parent.glob("libskerry.so*"))
    if bundled:
        return [str(bundled[0])]
    named = os.environ.get("SKERRY_LIBRARY")
    if named:
        return [named]
    found = ctypes.util.find_library("skerry")
    return ([found] if found else []) + ["libskerry.so.0", "libskerry.so"]


def library() -> Library:
    """The library bundled with the package, else SKERRY_LIBRARY, else the system's."""
    global _library
    if _library is None:
        tried = []
        for file in _candidates():
            try:
                _library = Library(file)
                break
            except OSError as error:
                tried.append(str(error))
        else:
            raise ImportError("libskerry.so was not found: " + "; ".join(tried))
    return _library


def error_for(
    code: int, path: Any = None, path2: Any = None, sentence: Optional[str] = None
) -> OSError:
    """The OSError for a negative errno: its subclass follows from the number."""
    if sentence is None:
        sentence = os.fsdecode(library().last_error()) or os.strerror(-code)
    if path2 is not None:
        return OSError(-code, sentence, path, None, path2)
    if path is not None:
        return OSError(-code, sentence, path)
    return OSError(-code, sentence)


def fail(code: int, path: Any = None, path2: Any = None) -> NoReturn:
    raise error_for(code, path, path2)


def encode(path: Any) -> bytes:
    """A path as the bytes the library takes."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def option_array(options: Sequence[Tuple[str, Any]]) -> Any:
    """key=value strings, NULL-terminated. Booleans are 0 and 1."""
    texts = []
    for key, value in options:
        if value is None:
            continue
        if isinstance(value, bool):
            value = int(value)
        texts.append(f"{key}={os.fsdecode(value) if isinstance(value, bytes) else value}")
    array = (c_char_p * (len(texts) + 1))()
    for index, text in enumerate(texts):
        array[index] = os.fsencode(text)
    return array


class _PyBuffer(Structure):
    _fields_ = [
        ("buf", c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, POINTER(_PyBuffer), c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [POINTER(_PyBuffer)]
_release_buffer.restype = None


class Borrowed:
    """Address and length of any contiguous buffer, held while the `with` lasts. No copy is made."""

    __slots__ = ("_buffer",)

    def __init__(self, data: Any, writable: bool = False) -> None:
        self._buffer = _PyBuffer()
        _get_buffer(data, self._buffer, 1 if writable else 0)

    def __enter__(self) -> Tuple[Optional[int], int]:
        return self._buffer.buf, self._buffer.len

    def __exit__(self, *_: Any) -> None:
        _release_buffer(self._buffer)


_bytes_new = ctypes.pythonapi.PyBytes_FromStringAndSize
_bytes_new.argtypes = [c_void_p, ctypes.c_ssize_t]
_bytes_new.restype = ctypes.py_object
_bytes_address = ctypes.pythonapi.PyBytes_AsString
_bytes_address.argtypes = [ctypes.py_object]
_bytes_address.restype = c_void_p


def new_bytes(size: int) -> Tuple[bytes, Optional[int]]:
    """A bytes object to be filled before anyone else sees it, and its address."""
    if size == 0:
        return b"", None
    value = _bytes_new(None, size)
    return value, _bytes_address(value)
