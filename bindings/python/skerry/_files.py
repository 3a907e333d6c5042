"""Open files: a raw io object over a file of a volume, and open() as builtins.open has it."""

from __future__ import annotations

import ctypes
import errno
import io
import operator
import os
import stat as stat_module
import warnings
from typing import IO, TYPE_CHECKING, Any, Optional, Tuple

from . import _abi
from ._handle import Handle

if TYPE_CHECKING:
    from .volume import Volume

# What one call of the library moves for a buffered reader or writer.
BUFFER_SIZE = 128 << 10


class RawFile(io.RawIOBase):
    """An unbuffered binary file, as io.FileIO. Made by Volume.open(..., buffering=0).

    pread() and pwrite() may be called from any thread; what uses the position is for one thread at
    a time (the buffered objects of `io` lock by themselves).
    """

    def __init__(self, volume: "Volume", path: Any, mode: str = "r", create_mode: int = 0o666):
        self._handle: Optional[Handle] = None
        super().__init__()
        flags, self._readable, self._writable, self._appending = _open_flags(mode)
        self._created = "x" in mode
        self._volume = volume
        self.name = path
        self._position: Optional[int] = 0  # None: at the end, wherever that is by now
        library = _abi.library()
        pointer = ctypes.c_void_p()
        with volume._handle as opened:
            code = library.open(
                opened,
                volume._context,
                _abi.encode(path),
                flags,
                create_mode,
                ctypes.byref(pointer),
            )
            if code < 0:
                _abi.fail(code, path)
        context = volume._context
        assert pointer.value is not None
        self._handle = Handle(
            pointer.value,
            lambda value: library.close(value, context),
            "I/O operation on closed file",
        )
        try:
            if not self._writable and stat_module.S_ISDIR(self._fstat().mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        except BaseException:
            self.close()
            raise
        if self._appending:
            self._position = None

    # -- what io asks

    @property
    def mode(self) -> str:
        if self._created:
            return "xb+" if self._readable else "xb"
        if self._appending:
            return "ab+" if self._readable else "ab"
        if self._readable:
            return "rb+" if self._writable else "rb"
        return "wb"

    def readable(self) -> bool:
        self._check_open()
        return self._readable

    def writable(self) -> bool:
        self._check_open()
        return self._writable

    def seekable(self) -> bool:
        self._check_open()
        return True

    def isatty(self) -> bool:
        self._check_open()
        return False

    def fileno(self) -> int:
        """A file of a volume has no descriptor."""
        self._check_open()
        raise io.UnsupportedOperation("fileno")

    def __repr__(self) -> str:
        if self.closed:
            return "<skerry.RawFile [closed]>"
        return f"<skerry.RawFile name={self.name!r} mode={self.mode!r}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    # -- reading

    def readinto(self, buffer: Any) -> int:
        """Reads into the caller's memory, nothing in between."""
        count = self.preadinto(buffer, self._where())
        self._position = self._where() + count
        return count

    def preadinto(self, buffer: Any, offset: int) -> int:
        """readinto() at `offset`; the position stays."""
        self._check_readable()
        with _abi.Borrowed(buffer, writable=True) as (address, length):
            return self._pread(address, length, offset)

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`; the position stays."""
        self._check_readable()
        data, address = _abi.new_bytes(size)
        count = self._pread(address, size, offset)
        return data if count == size else data[:count]

    def read(self, size: Optional[int] = -1) -> bytes:  # type: ignore[override]
        self._check_readable()
        if size is None or size < 0:
            return self.readall()
        position = self._where()
        data = self.pread(size, position)
        self._position = position + len(data)
        return data

    def readall(self) -> bytes:
        self._check_readable()
        pieces = []
        # Exactly what there should be, so that nothing is copied twice; again if it grew meanwhile.
        while (size := self._fstat().size - self._where()) > 0:
            data = self.read(size)
            if not data:
                break
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pread(self, address: Optional[int], length: int, offset: int) -> int:
        with self._volume._handle, self._use() as pointer:
            code = _abi.library().pread(pointer, self._volume._context, address, length, offset)
            if code < 0:
                _abi.fail(code, self.name)
        return code

    # -- writing

    def write(self, data: Any) -> int:  # type: ignore[override]
        self._check_writable()
        offset = 0 if self._appending else self._where()
        count = self.pwrite(data, offset)
        if not self._appending:
            self._position = offset + count
        elif count > 0:
            self._position = None
        return count

    def pwrite(self, data: Any, offset: int) -> int:
        """Writes all of `data` at `offset` (at the end in append mode); the position stays."""
        self._check_writable()
        with _abi.Borrowed(data) as (address, length):
            with self._volume._handle, self._use() as pointer:
                code = _abi.library().pwrite(
                    pointer, self._volume._context, address, length, offset
                )
                if code < 0:
                    _abi.fail(code, self.name)
        return code

    def truncate(self, size: Optional[int] = None) -> int:
        self._check_writable()
        if size is None:
            size = self._where()
        if size < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        position = self._where()
        self._call("ftruncate", size)
        self._position = position
        return size

    def fsync(self) -> None:
        """What was written is durable and seen by other clients, as os.fsync()."""
        self._call("fsync")

    def flock(self, operation: int) -> None:
        """As fcntl.flock(), with its LOCK_... constants: between all clients of the volume.

        BlockingIOError where another holds it and LOCK_NB is given. The lock belongs to this file
        object; a buffered object over it (`file.raw.flock()`) is to be flushed before unlocking.
        """
        self._call("flock", operation)

    def allocate(self, offset: int, length: int, mode: int = 0) -> None:
        """fallocate(2): mode 0 extends the file, 3 punches a hole, 16 writes zeros."""
        self._check_open()
        with self._volume._handle, self._use() as pointer:
            code = _abi.library().fallocate(pointer, self._volume._context, mode, offset, length)
            if code < 0:
                _abi.fail(code, self.name)

    # -- position and state

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_open()
        if whence == io.SEEK_SET:
            position = offset
        elif whence == io.SEEK_CUR:
            position = self._where() + offset
        elif whence == io.SEEK_END:
            position = self._fstat().size + offset
        elif whence in (3, 4):  # SEEK_DATA, SEEK_HOLE
            with self._volume._handle, self._use() as pointer:
                position = _abi.library().seek_data(
                    pointer, self._volume._context, offset, whence
                )
                if position < 0:
                    _abi.fail(position, self.name)
        else:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def tell(self) -> int:
        self._check_open()
        return self._where()

    def stat(self) -> os.stat_result:
        """os.fstat()."""
        return self._volume._stat_result(self._fstat())

    def close(self) -> None:
        """Flushes durably; raises what an earlier write failed with. While a view of the file is
        held or another thread is inside a call, the last of them closes."""
        if self.closed:
            return
        super().close()
        if self._handle is None:
            return
        try:
            with self._volume._handle:
                code = self._handle.close()
                if code is not None and code < 0:
                    _abi.fail(code, self.name)
        except ValueError:  # the volume was closed before, and has flushed the file
            self._handle.close()

    def __del__(self) -> None:
        if self._handle is not None and not self.closed:
            self._dealloc_warn(self)
        super().__del__()

    def _dealloc_warn(self, source: Any) -> None:
        if not self.closed:
            warnings.warn(f"unclosed file {source!r}", ResourceWarning, stacklevel=2, source=source)

    # -- inside

    def _where(self) -> int:
        if self._position is None:
            self._position = self._fstat().size
        return self._position

    def _use(self) -> Handle:
        if self._handle is None or self.closed:
            raise ValueError("I/O operation on closed file")
        return self._handle

    def _fstat(self) -> _abi.Stat:
        out = _abi.Stat()
        self._call("fstat", ctypes.byref(out))
        return out

    def _call(self, name: str, *arguments: Any) -> None:
        with self._volume._handle, self._use() as pointer:
            code = getattr(_abi.library(), name)(pointer, self._volume._context, *arguments)
            if code < 0:
                _abi.fail(code, self.name)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _check_readable(self) -> None:
        self._check_open()
        if not self._readable:
            raise io.UnsupportedOperation("File not open for reading")

    def _check_writable(self) -> None:
        self._check_open()
        if not self._writable:
            raise io.UnsupportedOperation("File not open for writing")


def _open_flags(mode: str) -> Tuple[int, bool, bool, bool]:
    """flags, readable, writable, appending."""
    updating = "+" in mode
    if "r" in mode:
        return (os.O_RDWR if updating else os.O_RDONLY), True, updating, False
    access = os.O_RDWR if updating else os.O_WRONLY
    if "w" in mode:
        return access | os.O_CREAT | os.O_TRUNC, updating, True, False
    if "x" in mode:
        return access | os.O_CREAT | os.O_EXCL, updating, True, False
    return access | os.O_CREAT | os.O_APPEND, updating, True, True


def open_file(
    volume: "Volume",
    path: Any,
    mode: str,
    buffering: int,
    encoding: Optional[str],
    errors: Optional[str],
    newline: Optional[str],
    create_mode: int,
) -> IO[Any]:
    """builtins.open on a file of a volume: the same modes, objects and ValueErrors."""
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    buffering = operator.index(buffering)
    letters = set(mode)
    if letters - set("axrwb+t") or len(mode) > len(letters):
        raise ValueError(f"invalid mode: {mode!r}")
    text = "t" in letters
    binary = "b" in letters
    if text and binary:
        raise ValueError("can't have text and binary mode at once")
    if len(letters & set("xrwa")) > 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if binary and encoding is not None:
        raise ValueError("binary mode doesn't take an encoding argument")
    if binary and errors is not None:
        raise ValueError("binary mode doesn't take an errors argument")
    if binary and newline is not None:
        raise ValueError("binary mode doesn't take a newline argument")
    if binary and buffering == 1:
        warnings.warn(
            "line buffering (buffering=1) isn't supported in binary mode, the default buffer size"
            " will be used",
            RuntimeWarning,
            stacklevel=3,
        )
    if not letters & set("xrwa"):
        raise ValueError(
            "Must have exactly one of create/read/write/append mode and at most one plus"
        )
    raw = RawFile(volume, path, mode, create_mode)
    opened: Any = raw
    try:
        line_buffering = buffering == 1
        if buffering == 1 or buffering < 0:
            buffering = BUFFER_SIZE
        if buffering == 0:
            if binary:
                return raw
            raise ValueError("can't have unbuffered text I/O")
        if "+" in letters:
            opened = io.BufferedRandom(raw, buffering)  # type: ignore[type-var]
        elif "r" in letters:
            opened = io.BufferedReader(raw, buffering)  # type: ignore[type-var]
        else:
            opened = io.BufferedWriter(raw, buffering)  # type: ignore[type-var]
        if binary:
            return opened
        opened = io.TextIOWrapper(
            opened, io.text_encoding(encoding, 3), errors, newline, line_buffering
        )
        opened.mode = mode
        return opened
    except BaseException:
        opened.close()
        raise


def raw_of(file: Any) -> RawFile:
    """The raw file under an io object of ours, with what is buffered above it written."""
    if not isinstance(file, RawFile):
        if file.writable():
            file.flush()
        while not isinstance(file, RawFile):
            below = getattr(file, "buffer", None) or getattr(file, "raw", None)
            if below is None:
                raise TypeError(f"not a file of a volume: {file!r}")
            file = below
    return file


class _Pin:
    """Holds a view until the memory it shows is used no more."""

    def __init__(self, volume: "Volume", handle: Handle, view: _abi.View) -> None:
        self._volume = volume
        self._handle = handle
        self._view = view
        handle.pin()
        volume._views.append(None)

    def __del__(self) -> None:
        _abi.library().view_release(ctypes.byref(self._view))
        self._handle.unpin()
        self._volume._views.pop()


def view_of(raw: RawFile, offset: int, length: Optional[int]) -> memoryview:
    """A read-only memoryview of the library's memory. See Volume.view()."""
    raw._check_readable()
    if length is None:
        length = max(raw._fstat().size - offset, 0)
    view = _abi.View()
    with raw._volume._handle, raw._use() as pointer:
        code = _abi.library().read_view(
            pointer, raw._volume._context, offset, length, ctypes.byref(view)
        )
        if code < 0:
            _abi.fail(code, raw.name)
        pin = _Pin(raw._volume, raw._use(), view)
    if view.length == 0:
        return memoryview(b"")
    memory = (ctypes.c_char * view.length).from_address(view.data)
    memory.pin = pin  # type: ignore[attr-defined]
    return memoryview(memory).toreadonly().cast("B")
