"""The calls of os, os.path and shutil against the same calls on a temporary folder."""

import errno
import os
import pathlib
import shutil
import stat
import struct

import pytest

import skerry


class Host:
    """os, os.path and shutil with Volume's names, below a folder."""

    def __init__(self, root):
        self.root = str(root)

    def __getattr__(self, name):
        function = {
            "rmtree": shutil.rmtree,
            "exists": os.path.exists,
            "lexists": os.path.lexists,
            "isfile": os.path.isfile,
            "isdir": os.path.isdir,
            "islink": os.path.islink,
            "getsize": os.path.getsize,
        }.get(name) or getattr(os, name)

        def call(*arguments, **options):
            return function(*[self._place(value) for value in arguments], **options)

        return call

    def _place(self, value):
        if isinstance(value, str) and value.startswith("/"):
            return self.root + value
        return value


@pytest.fixture
def sides(volume, tmp_path):
    (tmp_path / "host").mkdir()
    host = Host(tmp_path / "host")
    for side in (volume, host):
        side.mkdir("/dir")
        side.mkdir("/dir/sub")
    for name in ("/file", "/dir/one", "/dir/sub/two"):
        volume.write_bytes(name, name.encode())
        pathlib.Path(host.root + name).write_bytes(name.encode())
    for side in (volume, host):
        side.symlink("dir/one", "/link")
        side.symlink("dir", "/dirlink")
        side.symlink("nowhere", "/dangling")
        side.link("/file", "/twin")
    return volume, host


def outcome(side, name, *arguments, **options):
    try:
        result = getattr(side, name)(*arguments, **options)
    except OSError as error:
        return type(error), error.errno
    except (ValueError, TypeError) as error:
        return type(error)
    if isinstance(result, list):
        return sorted(result)
    if isinstance(result, os.stat_result):
        return stat.S_IFMT(result.st_mode), result.st_nlink
    return result


CALLS = [
    ("mkdir", "/dir"),
    ("mkdir", "/new"),
    ("mkdir", "/missing/new"),
    ("mkdir", "/file/new"),
    ("makedirs", "/a/b/c"),
    ("makedirs", "/a/b/c"),
    ("makedirs", "/dir/sub"),
    ("makedirs", "/x/y/"),
    ("listdir", "/"),
    ("listdir", "/file"),
    ("listdir", "/missing"),
    ("readlink", "/link"),
    ("readlink", "/file"),
    ("readlink", "/missing"),
    ("stat", "/file"),
    ("stat", "/dir"),
    ("stat", "/link"),
    ("stat", "/dangling"),
    ("lstat", "/dangling"),
    ("stat", "/file/x"),
    ("lstat", "/missing"),
    ("stat", "/" + "n" * 256),
    ("stat", "/nul\0byte"),
    ("exists", "/dangling"),
    ("lexists", "/dangling"),
    ("isfile", "/link"),
    ("isdir", "/dirlink"),
    ("islink", "/dirlink"),
    ("islink", "/file"),
    ("isdir", "/missing"),
    ("getsize", "/dir/one"),
    ("access", "/file", os.R_OK),
    ("access", "/missing", os.F_OK),
    ("rmdir", "/dir"),
    ("rmdir", "/file"),
    ("rmdir", "/missing"),
    ("unlink", "/dir"),
    ("unlink", "/missing"),
    ("remove", "/twin"),
    ("stat", "/file"),
    ("link", "/file", "/dir/linked"),
    ("link", "/dir", "/hard"),
    ("link", "/missing", "/hard"),
    ("symlink", "x", "/file"),
    ("rename", "/file", "/dir"),
    ("rename", "/dir", "/file"),
    ("rename", "/dir", "/dir/sub/below"),
    ("rename", "/missing", "/other"),
    ("rename", "/file", "/renamed"),
    ("replace", "/renamed", "/dir/one"),
    ("truncate", "/dir/one", 3),
    ("truncate", "/dir", 3),
    ("truncate", "/dir/one", -1),
    ("chmod", "/dir/one", 0o640),
    ("chmod", "/missing", 0o640),
    ("utime", "/missing"),
    ("removedirs", "/a/b/c"),
    ("exists", "/a"),
    ("rmtree", "/link"),
    ("rmtree", "/dir/one"),
    ("rmtree", "/missing"),
]


def test_the_same_calls_have_the_same_outcome(sides):
    volume, host = sides
    for name, *arguments in CALLS:
        ours, theirs = outcome(volume, name, *arguments), outcome(host, name, *arguments)
        if name == "listdir" and isinstance(theirs, list):
            assert set(theirs) == set(ours)
        elif name == "rmtree" and theirs not in (None,):
            assert ours[0] is not int and isinstance(ours, tuple), (name, arguments)
        else:
            assert ours == theirs, (name, arguments)
    assert volume.rmtree("/dir") == 5
    assert not volume.exists("/dir")
    assert volume.rmtree("/dir", ignore_errors=True) == 0


def test_stat_is_an_os_stat_result(volume):
    volume.write_bytes("/f", b"12345", 0o640)
    volume.utime("/f", ns=(1_000_000_001, 2_000_000_000_123_456_789))
    result = volume.stat("/f")
    assert isinstance(result, os.stat_result)
    assert result.st_size == result[stat.ST_SIZE] == 5
    assert stat.S_IMODE(result.st_mode) == 0o640
    assert result.st_atime_ns == 1_000_000_001
    assert result.st_mtime_ns == 2_000_000_000_123_456_789
    assert result.st_mtime == pytest.approx(2_000_000_000.1234567)
    assert result.st_ctime_ns > 10**18 and result.st_ino > 0 and result.st_blksize > 0
    assert (result.st_uid, result.st_gid) == (os.geteuid(), os.getegid())
    with volume.open("/f", "rb") as file:
        assert file.raw.stat() == result
        assert os.path.samestat(file.raw.stat(), result)
    extended = volume.statx("/f")
    assert extended["btime_ns"] > 0 and extended["mtime_ns"] == result.st_mtime_ns
    volume.chmod("/f", 0o600)
    assert volume.statx("/f")["version"] != extended["version"]


@pytest.mark.parametrize(
    "times", [(0, 0), (1.5, 2.25), (-1.5, -0.25), (1e9 + 0.1, 12345.678901), (3, -7)]
)
def test_utime_rounds_as_os_does(volume, tmp_path, times):
    volume.write_bytes("/f", b"")
    (tmp_path / "f").write_bytes(b"")
    volume.utime("/f", times)
    os.utime(tmp_path / "f", times)
    ours, theirs = volume.stat("/f"), os.stat(tmp_path / "f")
    assert ours.st_mtime_ns == theirs.st_mtime_ns
    assert ours.st_atime_ns == theirs.st_atime_ns


def test_utime_of_a_symlink_and_now(volume):
    volume.write_bytes("/f", b"")
    volume.symlink("f", "/link")
    volume.utime("/link", ns=(5, 6), follow_symlinks=False)
    assert volume.lstat("/link").st_mtime_ns == 6
    assert volume.stat("/link").st_mtime_ns > 6
    volume.utime("/f", (1, 1))
    volume.utime("/f")
    assert volume.stat("/f").st_mtime > 1
    with pytest.raises(ValueError):
        volume.utime("/f", (1, 1), ns=(1, 1))


def test_walk_is_os_walk(sides):
    volume, host = sides

    def collect(walked, root):
        return sorted(
            (path[len(root) :] or "/", sorted(directories), sorted(files))
            for path, directories, files in walked
        )

    for topdown in (True, False):
        for followlinks in (True, False):
            ours = volume.walk("/dir", topdown, followlinks=followlinks)
            theirs = os.walk(host.root + "/dir", topdown, followlinks=followlinks)
            assert collect(ours, "/dir") == collect(theirs, host.root + "/dir")
    top = next(volume.walk("/"))
    assert top[0] == "/" and set(top[1]) == {"dir", "dirlink"}
    order = [path for path, _, _ in volume.walk("/", topdown=False)]
    assert order.index("/dir/sub") < order.index("/dir") < order.index("/")
    pruned = []
    for path, directories, _ in volume.walk("/"):
        pruned.append(path)
        directories.clear()
    assert pruned == ["/"]
    errors = []
    assert list(volume.walk("/missing", onerror=errors.append)) == []
    assert errors[0].errno == errno.ENOENT


def test_scandir(sides):
    volume, _ = sides
    with volume.scandir("/") as entries:
        found = {entry.name: entry for entry in entries}
    assert list(found) == sorted(found)
    assert found["dir"].is_dir() and not found["dir"].is_file()
    assert found["dirlink"].is_dir() and not found["dirlink"].is_dir(follow_symlinks=False)
    assert found["link"].is_file() and found["link"].is_symlink()
    assert not found["dangling"].is_file() and not found["dangling"].is_dir()
    assert found["file"].path == "/file" and os.fspath(found["file"]) == "/file"
    assert found["file"].inode() == volume.stat("/file").st_ino
    assert found["file"].stat() == volume.stat("/file")
    assert found["link"].stat().st_size == 8 and found["link"].stat(
        follow_symlinks=False
    ) == volume.lstat("/link")
    with pytest.raises(FileNotFoundError):
        found["dangling"].stat()
    with pytest.raises(NotADirectoryError):
        volume.scandir("/file")
    names = [entry.name for entry in volume.scandir(b"/")]
    assert b"file" in names


def test_a_large_directory(volume):
    volume.mkdir("/many")
    volume.write_many((f"/many/{number:05}", b"") for number in range(2500))
    assert volume.listdir("/many") == [f"{number:05}" for number in range(2500)]
    assert sum(1 for _ in volume.scandir("/many")) == 2500


def test_bytes_and_pathlike_names(volume):
    name = b"/caf\xe9"
    volume.write_bytes(name, b"x")
    assert volume.listdir(b"/") == [b"caf\xe9"]
    assert volume.listdir("/") == ["caf\udce9"]
    assert volume.read_bytes("/caf\udce9") == b"x"
    volume.mkdir(pathlib.Path("/path"))
    assert volume.isdir(pathlib.Path("/path"))
    volume.symlink(b"caf\xe9", b"/link")
    assert volume.readlink(b"/link") == b"caf\xe9"
    with pytest.raises(FileNotFoundError) as caught:
        volume.stat(b"/none")
    assert caught.value.filename == b"/none"
    with pytest.raises(TypeError):
        volume.stat(3.5)


def test_errors_carry_names_and_sentences(volume):
    with pytest.raises(FileNotFoundError) as caught:
        volume.rename("/none", "/other")
    assert caught.value.filename == "/none" and caught.value.filename2 == "/other"
    with pytest.raises(FileNotFoundError) as caught:
        volume.stat("/none/at/all")
    assert caught.value.filename == "/none/at/all"
    assert len(caught.value.strerror) > 3
    with pytest.raises(FileExistsError):
        volume.mkdir("/")
    with pytest.raises(FileNotFoundError):
        skerry.Volume("sqlite:///nowhere/at/all.db")
    with pytest.raises(OSError):
        skerry.Volume("nonsense")


def test_rename_flags(volume):
    volume.write_bytes("/a", b"a")
    volume.write_bytes("/b", b"b")
    with pytest.raises(FileExistsError):
        volume.rename("/a", "/b", noreplace=True)
    volume.rename("/a", "/b", exchange=True)
    assert volume.read_bytes("/a") == b"b"


def test_inode_flags(volume):
    immutable, append = 0x10, 0x20  # stat.STATX_ATTR_IMMUTABLE, _APPEND of newer Pythons
    volume.write_bytes("/f", b"data")
    assert volume.statx("/f")["attributes"] & (immutable | append) == 0
    volume.setflags("/f", immutable)
    assert volume.statx("/f")["attributes"] & (immutable | append) == immutable
    for action in (
        lambda: volume.unlink("/f"),
        lambda: volume.chmod("/f", 0o600),
        lambda: volume.write_bytes("/f", b""),
        lambda: volume.truncate("/f", 0),
        lambda: volume.setxattr("/f", "user.a", b""),
    ):
        with pytest.raises(PermissionError) as caught:
            action()
        assert caught.value.errno == errno.EPERM
    volume.setflags("/f", append)
    with volume.open("/f", "ab") as file:
        file.write(b" and more")
    assert volume.read_bytes("/f") == b"data and more"
    volume.setflags("/f", 0)
    volume.unlink("/f")


def test_acls(volume):
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry)
        for entry in (
            (0x01, 6, 0xFFFFFFFF),
            (0x02, 4, 1000),
            (0x04, 0, 0xFFFFFFFF),
            (0x10, 4, 0xFFFFFFFF),
            (0x20, 0, 0xFFFFFFFF),
        )
    )
    volume.write_bytes("/f", b"data")
    volume.setxattr("/f", "system.posix_acl_access", acl)
    assert stat.S_IMODE(volume.stat("/f").st_mode) == 0o640
    assert volume.listxattr("/f") == ["system.posix_acl_access"]
    assert volume.getxattr("/f", "system.posix_acl_access") == acl
    volume.chmod("/f", 0o600)
    assert volume.getxattr("/f", "system.posix_acl_access") != acl
    with pytest.raises(OSError) as caught:
        volume.setxattr("/f", "system.posix_acl_access", acl[:-8])
    assert caught.value.errno == errno.EINVAL


def test_xattrs(volume):
    volume.write_bytes("/f", b"")
    assert volume.listxattr("/f") == []
    volume.setxattr("/f", "user.one", b"1\0" * 1000)
    volume.setxattr("/f", b"user.two", bytearray(b""))
    assert set(volume.listxattr("/f")) == {"user.one", "user.two"}
    assert volume.getxattr("/f", "user.one") == b"1\0" * 1000
    assert volume.getxattr("/f", "user.two") == b""
    with pytest.raises(OSError) as caught:
        volume.getxattr("/f", "user.none")
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(FileExistsError):
        volume.setxattr("/f", "user.one", b"", os.XATTR_CREATE)
    volume.removexattr("/f", "user.one")
    assert volume.listxattr("/f") == ["user.two"]


def test_many_at_once(volume):
    data = {f"/n{number}": os.urandom(number * 37 % 9000) for number in range(300)}
    volume.write_many(data)
    assert volume.read_many(list(data)) == list(data.values())
    assert [s.st_size for s in volume.stat_many(data)] == [len(d) for d in data.values()]
    with pytest.raises(FileNotFoundError) as caught:
        volume.read_many(["/n1", "/none"])
    assert caught.value.filename == "/none"
    mixed = volume.read_many(["/none", "/n2"], return_errors=True)
    assert isinstance(mixed[0], FileNotFoundError) and mixed[1] == data["/n2"]
    mixed = volume.stat_many(["/n2", "/none"], return_errors=True)
    assert isinstance(mixed[1], FileNotFoundError)
    mixed = volume.write_many([("/no/where", b""), ("/ok", b"1")], return_errors=True)
    assert isinstance(mixed[0], FileNotFoundError) and mixed[1] is None
    assert volume.read_bytes("/ok") == b"1"
    assert volume.read_many([]) == [] and volume.write_many({}) == []


def test_whole_files(volume):
    for size in (0, 1, 65_536, 65_537, 3_000_000):
        data = os.urandom(size)
        assert volume.write_bytes("/f", data) == size
        assert volume.read_bytes("/f") == data
    volume.write_text("/t", "a\näß", encoding="utf-8")
    assert volume.read_text("/t", encoding="utf-8") == "a\näß"


def test_owners(url):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    with skerry.Volume(url) as root:
        root.write_bytes("/f", b"x", 0o600)
        root.chown("/f", 1234, 5678)
        root.chown("/f", -1, 4321)
        assert (root.stat("/f").st_uid, root.stat("/f").st_gid) == (1234, 4321)
        root.mkdir("/open")
        root.chmod("/open", 0o777)
        root.symlink("f", "/link")
        root.lchown("/link", 7, 8)
        assert root.lstat("/link").st_uid == 7 and root.stat("/link").st_uid == 1234
    with skerry.Volume(url, uid=1000, gid=1001, groups=[1002], umask=0o027) as user:
        with pytest.raises(PermissionError):
            user.read_bytes("/f")
        assert not user.access("/f", os.R_OK)
        user.write_bytes("/open/mine", b"")
        made = user.stat("/open/mine")
        assert (made.st_uid, made.st_gid) == (1000, 1001)
        assert stat.S_IMODE(made.st_mode) == 0o640
    with skerry.Volume(url, uid=1234) as owner:
        assert owner.read_bytes("/f") == b"x"


def test_the_volume_as_a_whole(volume):
    volume.write_bytes("/f", os.urandom(100_000))
    usage = volume.statvfs("/")
    assert isinstance(usage, os.statvfs_result)
    assert usage.f_namemax == 255 and usage.f_blocks > usage.f_bfree > 0
    assert isinstance(volume.info(), dict)
    counters = volume.counters()
    assert counters and all(isinstance(value, int) for value in counters.values())
    volume.sync()
    seen = []
    result = volume.gc(dry_run=True, progress=lambda *step: seen.append(step))
    assert result["deleted_objects"] == 0
    result = volume.fsck(check_data=True)
    assert result["problems"] == [] and result["files"] == 1
    volume.compact("/f")


def test_what_a_callback_raises_comes_out(volume):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    volume.makedirs("/tree/a/b")
    try:
        volume.rmtree("/tree", progress=stop)
    except Stop:
        pass
    volume.rmtree("/tree", ignore_errors=True)
    assert not volume.exists("/tree")


def test_mknod(volume):
    volume.mkfifo("/fifo", 0o600)
    assert stat.S_ISFIFO(volume.stat("/fifo").st_mode)


def test_read_only(url):
    with skerry.Volume(url, read_only=True) as volume:
        with pytest.raises(OSError) as caught:
            volume.mkdir("/x")
        assert caught.value.errno == errno.EROFS
