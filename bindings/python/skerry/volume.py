"""A volume: the calls of `os`, `os.path` and `shutil` on the files in it, and its batch forms."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import stat as stat_module
import time
import warnings
import zlib
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional
from typing import Sequence, Tuple, Union

from . import _abi
from ._abi import StrPath
from ._administration import Administration, without_secrets
from ._callbacks import Callbacks, Progress
from ._files import RawFile, open_file, raw_of, view_of
from ._handle import Handle
from ._listing import Listing, ScandirIterator


def format(url: StrPath, storage: Optional[str] = None, **options: Any) -> None:
    """Creates a volume. `url` names its metadata ("sqlite:///abs/path/vol.db"), `storage` where
    data lives ("file:///abs/dir"). Options: block_size, inline, durable, session_expiry,
    compression, encryption_key, as the C function has them. FileExistsError if there is one
    already."""
    settings = [("storage", storage), *options.items()]
    code = _abi.library().format(_abi.encode(url), _abi.option_array(settings))
    if code < 0:
        _abi.fail(code, without_secrets(url))


def configure(
    url: StrPath,
    *,
    compression: Optional[str] = None,
    encryption_key: Optional[str] = None,
    timeout: Optional[str] = None,
) -> None:
    """Changes how a volume stores data from now on: `compression` ("none", "lz4", "zstd",
    "zstd:3"), and with `encryption_key` ("file:/path", "env:NAME", "command:COMMAND") a volume
    that was not encrypted is. EBUSY where a client has the volume open and must not."""
    settings = [
        ("compression", compression),
        ("encryption_key", encryption_key),
        ("timeout", timeout),
    ]
    code = _abi.library().configure(_abi.encode(url), _abi.option_array(settings))
    if code < 0:
        _abi.fail(code, without_secrets(url))


def rotate_key(
    url: StrPath,
    *,
    encryption_key: str,
    new_encryption_key: Optional[str] = None,
    new_data_key: bool = False,
    timeout: Optional[str] = None,
) -> None:
    """Gives an encrypted volume another key in one step, without rewriting data. With
    `new_data_key` new data is encrypted with a new data key."""
    settings = [
        ("encryption_key", encryption_key),
        ("new_encryption_key", new_encryption_key),
        ("new_data_key", new_data_key),
        ("timeout", timeout),
    ]
    code = _abi.library().rotate_key(_abi.encode(url), _abi.option_array(settings))
    if code < 0:
        _abi.fail(code, without_secrets(url))


def _reopen(url: str, arguments: Dict[str, Any]) -> "Volume":
    return Volume(url, **arguments)


class Volume(Administration):
    """An opened volume. Any thread may call it; a forked child may go on with it.

    Options are those of the C function (cache_size="1G", cache_dir="/var/cache/skerry",
    cache_dir_size, write_buffer, readahead, io_threads, timeout="30s", read_only=True, durable,
    background, metadata_cache, encryption_key).

    uid, gid, groups and umask say who asks; what is not given is the process's effective user,
    group and groups. The process's umask is NOT read: without `umask` a new file has all of its
    mode.

    Paths are str, bytes or PathLike; relative ones count from the root. Failures are the OSError
    subclasses that `os` raises, with the library's sentence as `strerror`.
    """

    def __init__(
        self,
        url: StrPath,
        *,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        groups: Optional[Sequence[int]] = None,
        umask: Optional[int] = None,
        **options: Any,
    ) -> None:
        self.url = os.fsdecode(url)
        self._arguments: Dict[str, Any] = dict(options)
        for name, value in (("uid", uid), ("gid", gid), ("groups", groups), ("umask", umask)):
            if value is not None:
                self._arguments[name] = value
        self._context: Any = None
        if not (uid is None and gid is None and groups is None and umask is None):
            self._context = _make_context(uid, gid, groups, umask)
        self._device = zlib.crc32(os.fsencode(url))
        self._views: List[None] = []
        library = _abi.library()
        pointer = ctypes.c_void_p()
        code = library.volume_open(
            _abi.encode(url), _abi.option_array(list(options.items())), ctypes.byref(pointer)
        )
        if code < 0:
            _abi.fail(code, without_secrets(url))
        assert pointer.value is not None
        self._handle = Handle(pointer.value, library.volume_close, "the volume is closed")

    # -- life

    def close(self) -> None:
        """Flushes and closes what is open. Waits for calls of other threads; BufferError while a
        view is held."""
        if self._handle.closed:
            return
        if self._views:
            raise BufferError("the volume cannot be closed: views of its files are still held")
        self._handle.refuse()
        while self._handle.in_use:
            time.sleep(0.001)
        code = self._handle.close()
        if code is not None and code < 0:
            _abi.fail(code, without_secrets(self.url))

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def __enter__(self) -> "Volume":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and not handle.closed:
            shown = without_secrets(self.url)
            warnings.warn(f"unclosed volume {shown!r}", ResourceWarning, source=self)
            handle.close()

    def __repr__(self) -> str:
        return f"<skerry.Volume {without_secrets(self.url)!r}{' [closed]' if self.closed else ''}>"

    def __reduce__(self) -> Any:
        """Pickles as its URL and options: the copy is opened anew."""
        return _reopen, (self.url, self._arguments)

    # -- opening

    def open(
        self,
        path: StrPath,
        mode: str = "r",
        buffering: int = -1,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
        *,
        create_mode: int = 0o666,
    ) -> IO[Any]:
        """builtins.open: the same modes and kinds of objects. `create_mode`: permissions of a new
        file, less the volume's umask."""
        return open_file(self, path, mode, buffering, encoding, errors, newline, create_mode)

    def view(
        self,
        file: Union[StrPath, IO[Any]],
        offset: int = 0,
        length: Optional[int] = None,
    ) -> memoryview:
        """The bytes in the library's memory, not copied, read-only. May be shorter than asked where
        they are not contiguous there: ask again from where it ends, or use views(). Empty only at
        the end. The memory is pinned until the view and all made of it are gone or released."""
        if isinstance(file, (str, bytes, os.PathLike)):
            with RawFile(self, file) as raw:
                return view_of(raw, offset, length)
        return view_of(raw_of(file), offset, length)

    def views(
        self,
        file: Union[StrPath, IO[Any]],
        offset: int = 0,
        length: Optional[int] = None,
    ) -> Iterator[memoryview]:
        """Views one after the other, up to `length` bytes or the end."""
        if isinstance(file, (str, bytes, os.PathLike)):
            with RawFile(self, file) as raw:
                yield from self.views(raw, offset, length)
            return
        raw = raw_of(file)
        while length is None or length > 0:
            view = view_of(raw, offset, length)
            if not view:
                return
            offset += len(view)
            if length is not None:
                length -= len(view)
            yield view

    # -- whole files, many at once

    def read_bytes(self, path: StrPath) -> bytes:
        """A whole file in one call."""
        size = 64 << 10
        while True:
            data, address = _abi.new_bytes(size)
            with self._handle as pointer:
                actual = _abi.library().read_file(
                    pointer, self._context, _abi.encode(path), address, size
                )
                if actual < 0:
                    _abi.fail(actual, path)
            if actual == size:
                return data
            if actual < size:
                return data[:actual]
            size = actual

    def read_text(
        self, path: StrPath, encoding: Optional[str] = None, errors: Optional[str] = None
    ) -> str:
        with self.open(path, encoding=encoding, errors=errors) as file:
            return file.read()

    def write_bytes(self, path: StrPath, data: Any, mode: int = 0o666) -> int:
        """Creates or replaces a file; durable when it returns."""
        with _abi.Borrowed(data) as (address, length), self._handle as pointer:
            code = _abi.library().write_file(
                pointer, self._context, _abi.encode(path), address, length, mode
            )
            if code < 0:
                _abi.fail(code, path)
        return length

    def write_text(
        self,
        path: StrPath,
        data: str,
        encoding: Optional[str] = None,
        errors: Optional[str] = None,
        newline: Optional[str] = None,
    ) -> int:
        with self.open(path, "w", encoding=encoding, errors=errors, newline=newline) as file:
            return file.write(data)

    def read_many(self, paths: Iterable[StrPath], *, return_errors: bool = False) -> List[Any]:
        """Whole files, fetched together. Raises the first failure, or with `return_errors` has the
        OSError in the place of its file."""
        paths = list(paths)
        stats = self.stat_many(paths, return_errors=True)
        requests = (_abi.ReadRequest * len(paths))()
        out: List[Any] = []
        wanted = []
        for path, stat in zip(paths, stats):
            if isinstance(stat, OSError):
                out.append(stat)
                continue
            data, address = _abi.new_bytes(stat.st_size)
            request = requests[len(wanted)]
            request.path = _abi.encode(path)
            request.length = stat.st_size
            request.buffer = address
            wanted.append(len(out))
            out.append(data)
        with self._handle as pointer:
            code = _abi.library().read_batch(pointer, self._context, requests, len(wanted))
            if code < 0:
                _abi.fail(code)
        for request, index in zip(requests, wanted):
            if request.result < 0:
                out[index] = _entry_error(request.result, paths[index])
            elif request.result < request.length:
                out[index] = out[index][: request.result]
        return out if return_errors else _raise_first(out)

    def write_many(
        self,
        files: Union[Mapping[Any, Any], Iterable[Tuple[StrPath, Any]]],
        mode: int = 0o666,
        *,
        return_errors: bool = False,
    ) -> List[Optional[OSError]]:
        """Creates or replaces many files; small ones share objects. Durable when it returns."""
        items = list(files.items() if isinstance(files, Mapping) else files)
        requests = (_abi.WriteRequest * len(items))()
        borrowed = []
        try:
            for request, (path, data) in zip(requests, items):
                held = _abi.Borrowed(data)
                borrowed.append(held)
                request.path = _abi.encode(path)
                request.data, request.length = held.__enter__()
                request.mode = mode
            with self._handle as pointer:
                code = _abi.library().write_batch(pointer, self._context, requests, len(items))
                if code < 0:
                    _abi.fail(code)
        finally:
            for held in borrowed:
                held.__exit__()
        out = [
            _entry_error(request.result, path) if request.result < 0 else None
            for request, (path, _) in zip(requests, items)
        ]
        return out if return_errors else _raise_first(out)

    def stat_many(
        self,
        paths: Iterable[StrPath],
        *,
        follow_symlinks: bool = True,
        return_errors: bool = False,
    ) -> List[Any]:
        """stat() of many paths, resolved together."""
        paths = list(paths)
        names = (ctypes.c_char_p * len(paths))(*[_abi.encode(path) for path in paths])
        stats = (_abi.Stat * len(paths))()
        results = (ctypes.c_int * len(paths))()
        flags = 0 if follow_symlinks else _abi.AT_SYMLINK_NOFOLLOW
        with self._handle as pointer:
            code = _abi.library().stat_batch(
                pointer, self._context, names, len(paths), flags, stats, results
            )
            if code < 0:
                _abi.fail(code)
        out = [
            self._stat_result(stat) if result >= 0 else _entry_error(result, path)
            for path, stat, result in zip(paths, stats, results)
        ]
        return out if return_errors else _raise_first(out)

    # -- attributes

    def stat(self, path: StrPath, *, follow_symlinks: bool = True) -> os.stat_result:
        return self._stat_result(self._stat(path, follow_symlinks))

    def lstat(self, path: StrPath) -> os.stat_result:
        return self.stat(path, follow_symlinks=False)

    def statx(self, path: StrPath, *, follow_symlinks: bool = True) -> Dict[str, int]:
        """What os.stat_result has no place for too: btime_ns, `version`, which changes with every
        change of data or attributes, and `attributes`, of which STATX_ATTR_IMMUTABLE (0x10) and
        STATX_ATTR_APPEND (0x20) are set by setflags()."""
        stat = self._stat(path, follow_symlinks)
        out = {}
        for name, kind in _abi.Stat._fields_:
            value = getattr(stat, name)
            if kind is _abi.Timespec:
                out[name + "_ns"] = value.nanoseconds()
            else:
                out[name] = value
        return out

    def access(self, path: StrPath, mode: int) -> bool:
        with self._handle as pointer:
            return _abi.library().access(pointer, self._context, _abi.encode(path), mode) == 0

    def exists(self, path: StrPath) -> bool:
        return self._mode(path, True) is not None

    def lexists(self, path: StrPath) -> bool:
        return self._mode(path, False) is not None

    def isfile(self, path: StrPath) -> bool:
        return stat_module.S_ISREG(self._mode(path, True) or 0)

    def isdir(self, path: StrPath) -> bool:
        return stat_module.S_ISDIR(self._mode(path, True) or 0)

    def islink(self, path: StrPath) -> bool:
        return stat_module.S_ISLNK(self._mode(path, False) or 0)

    def getsize(self, path: StrPath) -> int:
        return int(self._stat(path, True).size)

    def chmod(self, path: StrPath, mode: int, *, follow_symlinks: bool = True) -> None:
        self._at("fchmodat", path, follow_symlinks, mode & 0o7777)

    def setflags(self, path: StrPath, flags: int) -> None:
        """Makes a file immutable (0x10), append-only (0x20) or neither, as chattr(1); statx() tells.
        Root alone may."""
        self._path("setflags", path, flags)

    def chown(
        self, path: StrPath, uid: int, gid: int, *, follow_symlinks: bool = True
    ) -> None:
        """-1 leaves an id alone."""
        ids = [_abi.KEEP_ID if value == -1 else value for value in (uid, gid)]
        self._at("fchownat", path, follow_symlinks, *ids)

    def lchown(self, path: StrPath, uid: int, gid: int) -> None:
        self.chown(path, uid, gid, follow_symlinks=False)

    def utime(
        self,
        path: StrPath,
        times: Optional[Tuple[float, float]] = None,
        *,
        ns: Optional[Tuple[int, int]] = None,
        follow_symlinks: bool = True,
    ) -> None:
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        pair = None
        if ns is not None:
            pair = (_abi.Timespec * 2)(*[divmod(value, 1_000_000_000) for value in ns])
        elif times is not None:
            pair = (_abi.Timespec * 2)(*[_timespec(value) for value in times])
        self._at("utimensat", path, follow_symlinks, pair)

    def truncate(self, path: StrPath, length: int) -> None:
        if length < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        self._path("truncate", path, length)

    # -- extended attributes

    def getxattr(
        self, path: StrPath, attribute: StrPath, *, follow_symlinks: bool = True
    ) -> bytes:
        flags = 0 if follow_symlinks else _abi.AT_SYMLINK_NOFOLLOW
        buffer = ctypes.create_string_buffer(64 << 10)  # no value is larger
        size = self._path(
            "getxattr", path, _abi.encode(attribute), buffer, len(buffer), flags
        )
        return buffer.raw[:size]

    def setxattr(
        self,
        path: StrPath,
        attribute: StrPath,
        value: Any,
        flags: int = 0,
        *,
        follow_symlinks: bool = True,
    ) -> None:
        """flags: os.XATTR_CREATE, os.XATTR_REPLACE."""
        flags |= 0 if follow_symlinks else _abi.AT_SYMLINK_NOFOLLOW
        with _abi.Borrowed(value) as (address, length):
            self._path("setxattr", path, _abi.encode(attribute), address, length, flags)

    def listxattr(self, path: StrPath = "/", *, follow_symlinks: bool = True) -> List[str]:
        flags = 0 if follow_symlinks else _abi.AT_SYMLINK_NOFOLLOW
        while True:
            size = self._path("listxattr", path, None, 0, flags)
            if size == 0:
                return []
            buffer = ctypes.create_string_buffer(size)
            try:
                size = self._path("listxattr", path, buffer, len(buffer), flags)
            except OSError as error:
                if error.errno != errno.ERANGE:  # else it grew meanwhile
                    raise
                continue
            return [os.fsdecode(name) for name in buffer.raw[:size].split(b"\0") if name]

    def removexattr(
        self, path: StrPath, attribute: StrPath, *, follow_symlinks: bool = True
    ) -> None:
        flags = 0 if follow_symlinks else _abi.AT_SYMLINK_NOFOLLOW
        self._path("removexattr", path, _abi.encode(attribute), flags)

    # -- names

    def mkdir(self, path: StrPath, mode: int = 0o777) -> None:
        self._path("mkdir", path, mode)

    def makedirs(self, path: StrPath, mode: int = 0o777, exist_ok: bool = False) -> None:
        if exist_ok:
            self._path("mkdirs", path, mode)
            return
        head, tail = os.path.split(os.fsencode(path))
        if not tail:
            head, tail = os.path.split(head)
        if head and tail:
            self._path("mkdirs", head, mode)
        self._path("mkdir", path, mode)

    def mknod(self, path: StrPath, mode: int = 0o600, device: int = 0) -> None:
        self._path("mknod", path, mode, device)

    def mkfifo(self, path: StrPath, mode: int = 0o666) -> None:
        self._path("mknod", path, stat_module.S_IFIFO | mode, 0)

    def rmdir(self, path: StrPath) -> None:
        self._path("rmdir", path)

    def removedirs(self, path: StrPath) -> None:
        """Removes an empty directory, then its parents as long as they are empty."""
        self.rmdir(path)
        head = os.path.dirname(os.fsencode(path).rstrip(b"/"))
        while head.strip(b"/"):
            try:
                self.rmdir(head)
            except OSError:
                break
            head = os.path.dirname(head)

    def unlink(self, path: StrPath) -> None:
        self._path("unlink", path)

    remove = unlink

    def rename(
        self,
        source: StrPath,
        destination: StrPath,
        *,
        noreplace: bool = False,
        exchange: bool = False,
    ) -> None:
        """Atomic. `noreplace`: FileExistsError instead of replacing; `exchange`: swap two names."""
        flags = (_abi.RENAME_NOREPLACE if noreplace else 0) | (
            _abi.RENAME_EXCHANGE if exchange else 0
        )
        with self._handle as pointer:
            code = _abi.library().renameat2(
                pointer,
                self._context,
                None,
                _abi.encode(source),
                None,
                _abi.encode(destination),
                flags,
            )
            if code < 0:
                _abi.fail(code, source, destination)

    def replace(self, source: StrPath, destination: StrPath) -> None:
        self.rename(source, destination)

    def link(self, source: StrPath, destination: StrPath) -> None:
        with self._handle as pointer:
            code = _abi.library().link(
                pointer, self._context, _abi.encode(source), _abi.encode(destination)
            )
            if code < 0:
                _abi.fail(code, source, destination)

    def symlink(self, target: StrPath, path: StrPath) -> None:
        with self._handle as pointer:
            code = _abi.library().symlink(
                pointer, self._context, _abi.encode(target), _abi.encode(path)
            )
            if code < 0:
                _abi.fail(code, target, path)

    def readlink(self, path: StrPath) -> Any:
        """str, or bytes for a bytes path."""
        buffer = ctypes.create_string_buffer(4096)
        size = self._path("readlink", path, buffer, len(buffer))
        target = buffer.raw[:size]
        return target if isinstance(os.fspath(path), bytes) else os.fsdecode(target)

    # -- directories and trees

    def listdir(self, path: StrPath = "/") -> List[Any]:
        """Names in byte order; bytes for a bytes path."""
        as_bytes = isinstance(os.fspath(path), bytes)
        listing = Listing(self, path)
        names: List[Any] = []
        while page := listing.page():
            names.extend(name if as_bytes else os.fsdecode(name) for name, _ in page)
        listing.close()
        return names

    def scandir(self, path: StrPath = "/") -> ScandirIterator[Any]:
        return ScandirIterator(self, os.fspath(path))

    def walk(
        self,
        top: StrPath,
        topdown: bool = True,
        onerror: Optional[Callable[[OSError], Any]] = None,
        followlinks: bool = False,
    ) -> Iterator[Tuple[Any, List[Any], List[Any]]]:
        """os.walk()."""
        path = os.fspath(top)
        try:
            with self.scandir(path) as entries:
                found = list(entries)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            return
        directories = [entry.name for entry in found if entry.is_dir()]
        others = [entry.name for entry in found if not entry.is_dir()]
        links = {entry.name for entry in found if entry.is_symlink()}
        if topdown:
            yield path, directories, others
        for name in directories:
            below = os.path.join(path, name)
            # The caller may have put other names into the list.
            is_link = name in links if not topdown else self.islink(below)
            if followlinks or not is_link:
                yield from self.walk(below, topdown, onerror, followlinks)
        if not topdown:
            yield path, directories, others

    def rmtree(
        self,
        path: StrPath,
        ignore_errors: bool = False,
        progress: Optional[Progress] = None,
    ) -> int:
        """shutil.rmtree(), in batches on the metadata. Returns how many entries it removed."""
        removed = ctypes.c_uint64()
        try:
            mode = self._stat(path, False).mode
            if stat_module.S_ISLNK(mode):
                raise OSError("Cannot call rmtree on a symbolic link")
            if not stat_module.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            with Callbacks(progress) as callbacks, self._handle as pointer:
                code = _abi.library().remove_tree(
                    pointer,
                    self._context,
                    _abi.encode(path),
                    ctypes.byref(removed),
                    callbacks.progress,
                    None,
                )
                callbacks.check(code, path)
        except OSError:
            if not ignore_errors:
                raise
        return removed.value

    def copy_file_range(
        self,
        source: IO[Any],
        destination: IO[Any],
        count: int,
        offset_src: Optional[int] = None,
        offset_dst: Optional[int] = None,
    ) -> int:
        """os.copy_file_range() between two open files: stored data is shared, not copied. Without
        an offset the file's position is used and moved."""
        raw_source, raw_destination = raw_of(source), raw_of(destination)
        from_offset = source.tell() if offset_src is None else offset_src
        to_offset = destination.tell() if offset_dst is None else offset_dst
        with self._handle, raw_source._use() as from_file, raw_destination._use() as to_file:
            copied = _abi.library().copy_file_range(
                from_file, from_offset, to_file, to_offset, count, self._context
            )
            if copied < 0:
                _abi.fail(copied, raw_source.name, raw_destination.name)
        if offset_src is None:
            source.seek(from_offset + copied)
        if offset_dst is None:
            destination.seek(to_offset + copied)
        return copied

    def copyfile(self, source: StrPath, destination: StrPath) -> None:
        """shutil.copyfile(), sharing the stored data."""
        with RawFile(self, source) as from_file:
            if self.exists(destination) and os.path.samestat(
                from_file.stat(), self.stat(destination)
            ):
                raise OSError(f"{source!r} and {destination!r} are the same file")
            with RawFile(self, destination, "w") as to_file:
                while self.copy_file_range(from_file, to_file, 1 << 30):
                    pass

    # -- inside

    def _path(self, name: str, path: Any, *arguments: Any) -> int:
        with self._handle as pointer:
            code = getattr(_abi.library(), name)(
                pointer, self._context, _abi.encode(path), *arguments
            )
            if code < 0:
                _abi.fail(code, path)
        return code

    def _at(self, name: str, path: Any, follow_symlinks: bool, *arguments: Any) -> None:
        flags = 0 if follow_symlinks else _abi.AT_SYMLINK_NOFOLLOW
        with self._handle as pointer:
            code = getattr(_abi.library(), name)(
                pointer, self._context, None, _abi.encode(path), *arguments, flags
            )
            if code < 0:
                _abi.fail(code, path)

    def _stat(self, path: Any, follow_symlinks: bool) -> _abi.Stat:
        out = _abi.Stat()
        self._path("stat" if follow_symlinks else "lstat", path, ctypes.byref(out))
        return out

    def _mode(self, path: Any, follow_symlinks: bool) -> Optional[int]:
        try:
            return int(self._stat(path, follow_symlinks).mode)
        except OSError:
            return None

    def _stat_result(self, stat: _abi.Stat) -> os.stat_result:
        times = [stat.atime, stat.mtime, stat.ctime]
        return os.stat_result(
            (
                stat.mode,
                stat.ino,
                self._device,
                stat.nlink,
                stat.uid,
                stat.gid,
                stat.size,
                *[time.sec for time in times],
                *[time.sec + 1e-9 * time.nsec for time in times],
                *[time.nanoseconds() for time in times],
                stat.blksize,
                stat.blocks,
                stat.rdev,
            )
        )


def _make_context(
    uid: Optional[int], gid: Optional[int], groups: Optional[Sequence[int]], umask: Optional[int]
) -> Any:
    if groups is None:
        groups = os.getgroups()
    context = _abi.Context()
    context.struct_size = ctypes.sizeof(context)
    context.uid = os.geteuid() if uid is None else uid
    context.gid = os.getegid() if gid is None else gid
    context.umask = umask or 0
    context.groups = (ctypes.c_uint32 * len(groups))(*groups)
    context.group_count = len(groups)
    return ctypes.pointer(context)


def _timespec(seconds: float) -> Tuple[int, int]:
    """Rounded down, as os.utime() does."""
    if isinstance(seconds, int):
        return seconds, 0
    fraction, whole = math.modf(seconds)
    nanoseconds = math.floor(fraction * 1e9)
    if nanoseconds < 0:
        return int(whole) - 1, nanoseconds + 1_000_000_000
    return int(whole), nanoseconds


def _entry_error(code: int, path: Any) -> OSError:
    return _abi.error_for(code, path, sentence=os.strerror(-code))


def _raise_first(results: List[Any]) -> List[Any]:
    for result in results:
        if isinstance(result, OSError):
            raise result
    return results
