"""Trees to copy, and how two of them are compared."""

import json
import os
import shutil
import stat


def make_tree(root, odd_names=True):
    """The standard library's json package and what copies get wrong: links, holes, names, modes."""
    source = os.path.dirname(json.__file__)
    shutil.copytree(source, root / "json", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "empty").write_bytes(b"")
    (root / "empty-directory").mkdir()
    (root / "large").write_bytes(bytes(range(256)) * 20_000)
    with open(root / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(16 << 20)
    (root / "link").symlink_to("json/decoder.py")
    (root / "dangling").symlink_to("nowhere/at/all")
    os.link(root / "json" / "encoder.py", root / "twin")
    os.link(root / "json" / "encoder.py", root / "empty-directory" / "triplet")
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o750)
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o400)
    os.mkfifo(root / "fifo", 0o640)
    deep = root
    for level in range(12):
        deep = deep / f"level{level}"
    deep.mkdir(parents=True)
    (deep / "leaf").write_text("leaf")
    (root / "closed").mkdir()
    (root / "closed" / "inside").write_text("inside")
    if odd_names:
        for name in (
            b"with space",
            b"-rf",
            b"[a,b]",
            b"++",
            b"new\nline",
            b"quote'\"",
            b"caf\xe9",  # not UTF-8
            "ünïcödé".encode(),
            b"colon:name",
            b"http:",
            b"$HOME*?",
            b"x" * 255,
        ):
            with open(os.path.join(os.fsencode(root), name), "wb") as file:
                file.write(b"named " + name)
    try:
        os.setxattr(root / "script", "user.note", b"kept\0whole")
        os.setxattr(root / "json", "user.folder", b"too")
    except OSError:
        pass  # the host's file system has none
    for number, (path, directories, files) in enumerate(os.walk(root, topdown=False)):
        for name in files:
            at = os.path.join(path, name)
            os.utime(
                at,
                ns=(1_500_000_000_000_000_000, 1_600_000_000_123_456_789 + number),
                follow_symlinks=False,
            )
        os.utime(path, ns=(1_500_000_000_000_000_000, 1_610_000_000_987_654_321 + number))
    (root / "closed").chmod(0o500)


def describe(root):
    """Everything that a copy keeps, by path; hard links as the set of names of each file."""
    root = os.fsencode(root)
    out, names = {}, {}
    for path, directories, files in os.walk(root):
        for at in [path] + [os.path.join(path, name) for name in directories + files]:
            info = os.lstat(at)
            name = os.path.relpath(at, root)
            entry = {"mode": oct(info.st_mode), "mtime": info.st_mtime_ns}
            if stat.S_ISREG(info.st_mode):
                with open(at, "rb") as file:
                    entry["data"] = file.read()
                names.setdefault(info.st_ino, set()).add(name)
                entry["names"] = names[info.st_ino]
            if stat.S_ISLNK(info.st_mode):
                entry["target"] = os.readlink(at)
            else:
                entry["xattrs"] = {
                    key: os.getxattr(at, key)
                    for key in os.listxattr(at)
                    if key.startswith("user.")
                }
            out[name] = entry
    return out
