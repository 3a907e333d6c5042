"""Open files against builtins.open: the same operations on both, the same results."""

import errno
import fcntl
import gc
import io
import os
import random
import warnings

import pytest

import skerry
from skerry._files import BUFFER_SIZE

SEEDS = [int(os.environ["SKERRY_SEED"])] if "SKERRY_SEED" in os.environ else range(12)


def host_open(name, mode="r", buffering=-1, *arguments, **options):
    """builtins.open with our default buffer size: what tell() says after an append depends on it."""
    if buffering == -1 and "b" in str(mode):
        buffering = BUFFER_SIZE
    return open(name, mode, buffering, *arguments, **options)


class Pair:
    """The same calls on a file of the volume and a file of the host."""

    def __init__(self, volume, directory):
        self.opens = (volume.open, host_open)
        self.names = ("/file", str(directory / "file"))
        self.files = None

    def open(self, *arguments, **options):
        self.close()
        return self.both(
            lambda side: self.opens[side](self.names[side], *arguments, **options), opened=True
        )

    def both(self, call, opened=False):
        results = []
        for side in (0, 1):
            try:
                results.append(("ok", call(side)))
            except Exception as error:
                text = str(error) if isinstance(error, (ValueError, TypeError)) else ""
                number = error.errno if isinstance(error, OSError) else 0
                results.append((type(error), number, text))
        if opened and results[0][0] == results[1][0] == "ok":
            self.files = (results[0][1], results[1][1])
            assert type(self.files[0]) is {io.FileIO: skerry.RawFile}.get(
                type(self.files[1]), type(self.files[1])
            )
            assert self.files[0].mode == self.files[1].mode
            return self.files
        if opened and "ok" in (results[0][0], results[1][0]):
            assert results[0] == results[1]
        assert results[0] == results[1]
        return results[0]

    def do(self, name, *arguments):
        return self.both(lambda side: getattr(self.files[side], name)(*arguments))

    def content(self, volume):
        with open(self.names[1], "rb") as file:
            assert volume.read_bytes(self.names[0]) == file.read()

    def close(self):
        if self.files:
            self.do("close")
            self.files = None


@pytest.fixture
def pair(volume, tmp_path):
    made = Pair(volume, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("buffering", [-1, 0, 16, 100_000])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_binary_operations(volume, pair, seed, buffering):
    print(f"SKERRY_SEED={seed}")
    rng = random.Random(seed)
    pair.open("wb+", buffering)
    for _ in range(150):
        choice = rng.randrange(11)
        size = rng.choice([0, 1, 7, 100, 5000, 70_000])
        if choice <= 2:
            pair.do("write", rng.randbytes(size))
        elif choice == 3:
            pair.do("read", rng.choice([size, -1, None]))
        elif choice == 4:
            pair.do("seek", rng.randrange(100_000), 0)
        elif choice == 5:
            pair.do("seek", rng.randrange(-200, 200), rng.choice([1, 2]))
        elif choice == 6:
            pair.do("tell")
        elif choice == 7:
            pair.do("truncate", rng.choice([None, rng.randrange(120_000)]))
        elif choice == 8:
            pair.do("flush")
        elif choice == 9:
            buffers = (bytearray(size), bytearray(size))
            pair.both(lambda side: pair.files[side].readinto(buffers[side]))
            assert buffers[0] == buffers[1]
        else:
            pair.open(rng.choice(["rb+", "ab+", "rb+", "rb", "ab"]), buffering)
    pair.close()
    pair.content(volume)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_text_operations(volume, pair, seed):
    print(f"SKERRY_SEED={seed}")
    rng = random.Random(seed)
    newline = rng.choice([None, "", "\n", "\r\n"])
    pair.open("w+", encoding="utf-8", newline=newline)
    alphabet = "abc äöü €𝄞 \n\r"
    for _ in range(80):
        choice = rng.randrange(7)
        if choice <= 1:
            text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(200)))
            pair.do("write", text)
        elif choice == 2:
            pair.do("seek", 0, rng.choice([0, 2]))
        elif choice == 3:
            pair.do("readline")
        elif choice == 4:
            pair.do("read", rng.randrange(50))
        elif choice == 5:
            pair.do("tell")
        else:
            mode = rng.choice(["r", "r+", "a+", "a"])
            pair.open(mode, encoding="utf-8", newline=newline)
    pair.close()
    pair.content(volume)


@pytest.mark.parametrize(
    "mode", ["", "b", "rw", "rr", "r+w", "q", "rbt", "U", "r++", "wb", "x", "t", "+", "tr", "rt+"]
)
def test_modes(pair, mode):
    pair.open("wb")
    pair.open(mode)


@pytest.mark.parametrize(
    "arguments, options",
    [
        (("rb",), {"encoding": "utf-8"}),
        (("rb",), {"errors": "strict"}),
        (("rb",), {"newline": ""}),
        (("r", 0), {}),
        (("r",), {"newline": "q"}),
        (("r",), {"encoding": "no-such-encoding"}),
        ((7,), {}),
        (("rb", "x"), {}),
    ],
)
def test_wrong_arguments(pair, arguments, options):
    pair.open("wb")
    pair.open(*arguments, **options)


def test_errors_of_open(volume, tmp_path):
    volume.mkdir("/dir")
    (tmp_path / "dir").mkdir()
    volume.write_bytes("/file", b"")
    (tmp_path / "file").write_bytes(b"")
    for name, mode in [
        ("missing", "r"),
        ("missing/below", "w"),
        ("dir", "r"),
        ("dir", "w"),
        ("file", "x"),
        ("file/below", "r"),
    ]:
        with pytest.raises(OSError) as ours:
            volume.open("/" + name, mode)
        with pytest.raises(OSError) as theirs:
            open(tmp_path / name, mode)
        assert type(ours.value) is type(theirs.value)
        assert ours.value.errno == theirs.value.errno
        assert ours.value.filename == "/" + name
        assert ours.value.strerror


def test_direction_and_closed(pair):
    pair.open("wb")
    for name, arguments in [("read", (1,)), ("readinto", (bytearray(1),)), ("readline", ())]:
        pair.do(name, *arguments)
    pair.open("rb")
    for name, arguments in [("write", (b"x",)), ("truncate", ()), ("fileno", ())]:
        if name == "fileno":
            with pytest.raises(io.UnsupportedOperation):
                pair.files[0].fileno()
        else:
            pair.do(name, *arguments)
    pair.do("close")
    for name, arguments in [
        ("read", ()),
        ("seek", (0,)),
        ("tell", ()),
        ("readable", ()),
        ("isatty", ()),
        ("close", ()),
        ("flush", ()),
    ]:
        pair.do(name, *arguments)


def test_kinds_of_objects(volume):
    with volume.open("/f", "wb", 0) as raw:
        assert isinstance(raw, skerry.RawFile)
        assert (raw.name, raw.mode, raw.closed) == ("/f", "wb", False)
        assert raw.seekable() and raw.writable() and not raw.readable()
    assert raw.closed and "closed" in repr(raw)
    with volume.open("/f", "rb") as file:
        assert isinstance(file, io.BufferedReader) and isinstance(file.raw, skerry.RawFile)
    with volume.open("/f", "w", 1) as file:
        assert file.line_buffering
        file.write("line\n")
        assert volume.read_bytes("/f") in (b"", b"line\n")
    assert volume.read_text("/f") == "line\n"
    with pytest.warns(RuntimeWarning):
        volume.open("/f", "rb", 1).close()


def test_readinto_any_buffer(volume):
    volume.write_bytes("/f", bytes(range(200)))
    import array

    with volume.open("/f", "rb", 0) as file:
        words = array.array("I", [0] * 4)
        assert file.readinto(words) == 16
        assert words.tobytes() == bytes(range(16))
        window = memoryview(bytearray(100))[10:20]
        assert file.readinto(window) == 10
        assert bytes(window) == bytes(range(16, 26))
        with pytest.raises((TypeError, BufferError)):
            file.readinto(b"read-only")
        assert file.pread(5, 100) == bytes(range(100, 105))
        assert file.tell() == 26
        assert file.readinto(bytearray()) == 0
        file.seek(0, 2)
        assert file.readinto(bytearray(5)) == 0


def test_write_any_buffer(volume):
    with volume.open("/f", "wb", 0) as file:
        for data in (b"1", bytearray(b"2"), memoryview(b"345")[::1], b""):
            assert file.write(data) == len(data)
        with pytest.raises(TypeError):
            file.write("text")
    assert volume.read_bytes("/f") == b"12345"


def test_append_is_at_the_end_whoever_writes(volume):
    volume.write_bytes("/log", b"start\n")
    with volume.open("/log", "ab", 0) as one, volume.open("/log", "ab", 0) as two:
        assert one.tell() == 6
        for number in range(10):
            one.write(b"one%d\n" % number)
            two.write(b"two%d\n" % number)
    assert len(volume.read_bytes("/log")) == 6 + 100


def test_holes(volume):
    with volume.open("/f", "wb") as file:
        file.write(b"a")
        file.seek(10 << 20)
        file.write(b"b")
    with volume.open("/f", "rb", 0) as file:
        assert file.seek(0, os.SEEK_HOLE) <= 10 << 20
        assert file.seek(5 << 20, os.SEEK_DATA) >= 5 << 20
        file.seek(0)
        assert file.read() == b"a" + bytes((10 << 20) - 1) + b"b"


def test_views_copy_nothing_and_outlive_the_file(volume):
    data = os.urandom(300_000)
    volume.write_bytes("/f", data)
    with volume.open("/f", "rb") as file:
        view = volume.view(file)
        pieces = list(volume.views(file))
    assert isinstance(view, memoryview) and view.readonly and view.format == "B"
    assert 0 < len(view) <= len(data) and view == data[: len(view)]
    assert b"".join(pieces) == data
    part = view[100:200]
    view.release()
    volume.write_bytes("/f", b"other")
    gc.collect()
    assert part == data[100:200]
    with pytest.raises(BufferError):
        volume.close()
    part.release()
    for piece in pieces:
        piece.release()
    del pieces, piece
    assert volume.view("/f").tobytes() == b"other"
    assert volume.view("/f", 2, 2) == b"he"
    assert len(volume.view("/f", 5)) == 0
    assert not volume._views


def test_view_of_what_is_buffered(volume):
    with volume.open("/f", "wb+") as file:
        file.write(b"not flushed")
        assert volume.view(file) == b"not flushed"


def test_unclosed_files_warn_and_are_flushed(volume):
    file = volume.open("/f", "wb")
    file.write(b"kept")
    with pytest.warns(ResourceWarning):
        del file
        gc.collect()
    assert volume.read_bytes("/f") == b"kept"


def test_a_closed_volume_refuses(url):
    volume = skerry.Volume(url)
    reader = volume.open("/f", "wb+", 0)
    reader.write(b"x")
    listing = volume.scandir("/")
    volume.close()
    volume.close()
    with pytest.raises(ValueError):
        reader.read(1)
    with pytest.raises(ValueError):
        volume.stat("/")
    with pytest.raises(ValueError):
        next(listing)
    reader.close()
    with skerry.Volume(url) as again:
        assert again.read_bytes("/f") == b"x"


def test_copy_file_range(volume):
    volume.write_bytes("/a", os.urandom(200_000))
    with volume.open("/a", "rb") as source, volume.open("/b", "wb") as destination:
        destination.write(b"head")
        assert volume.copy_file_range(source, destination, 100_000) == 100_000
        assert (source.tell(), destination.tell()) == (100_000, 100_004)
        assert volume.copy_file_range(source, destination, 10, 0, 0) == 10
    whole = volume.read_bytes("/a")
    assert volume.read_bytes("/b") == whole[:10] + whole[6:100_000]
    volume.copyfile("/a", "/c")
    assert volume.read_bytes("/c") == whole
    with pytest.raises(OSError):
        volume.copyfile("/a", "/a")
    assert volume.read_bytes("/a") == whole


def test_files_are_not_pickled(volume):
    import pickle

    volume.write_bytes("/f", b"")
    with volume.open("/f", "rb", 0) as file, pytest.raises(TypeError):
        pickle.dumps(file)


def test_nothing_warns_when_all_is_closed(url):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with skerry.Volume(url) as volume, volume.open("/f", "w") as file:
            file.write("x")
        gc.collect()


def test_errno_of_bad_seeks(pair):
    pair.open("wb+", 0)
    pair.do("seek", -1)
    pair.do("truncate", -1)
    assert pair.do("seek", 0, 9)[1] in (errno.EINVAL, 0)


def test_flock_between_clients(url, volume):
    with skerry.Volume(url) as other:
        one = volume.open("/f", "w+b", buffering=0)
        two = other.open("/f", "r+b", buffering=0)
        one.flock(fcntl.LOCK_EX)
        one.write(b"under the lock")
        with pytest.raises(BlockingIOError):
            two.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
        one.flock(fcntl.LOCK_UN)
        two.flock(fcntl.LOCK_SH)
        assert two.read() == b"under the lock"
        with pytest.raises(BlockingIOError):
            one.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        two.close()
        one.flock(fcntl.LOCK_EX)
        one.close()
