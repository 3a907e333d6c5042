"""ACLs, capabilities and inode flags through a mount, with the tools people use."""

import errno
import os
import subprocess

import pytest

from mounts import as_nobody, wait_until


def run(*words, user=None, status=0):
    words = [str(word) for word in words]
    if user is not None:
        ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        words = ["setpriv", *ids, *words]
    result = subprocess.run(words, capture_output=True, timeout=60, text=True)
    assert result.returncode == status, (words, result.stdout, result.stderr)
    return result.stdout


def acl_of(path):
    """As setfacl takes it: the lines of getfacl, without what the mask takes away."""
    lines = run("getfacl", "-cnpE", path).split()
    return ",".join(lines)


def mode_of(path):
    return os.stat(path).st_mode & 0o7777


def test_setfacl_and_chmod(mount):
    file = mount / "f"
    file.write_text("text")
    os.chmod(file, 0o640)
    run("cat", file, user=1000, status=1)
    run("setfacl", "-m", "u:1000:rw,g:60:r", file)
    assert acl_of(file) == "user::rw-,user:1000:rw-,group::r--,group:60:r--,mask::rw-,other::---"
    assert mode_of(file) == 0o660
    assert run("cat", file, user=1000) == "text"
    run("cat", file, user=1001, status=1)
    os.chmod(file, 0o604)
    assert acl_of(file) == "user::rw-,user:1000:rw-,group::r--,group:60:r--,mask::---,other::r--"
    os.chmod(file, 0o640)
    assert run("cat", file, user=1000) == "text"
    run("tee", file, user=1000, status=1)
    run("setfacl", "-b", file)
    assert acl_of(file) == "user::rw-,group::r--,other::---"
    assert os.listxattr(file) == []
    run("cat", file, user=1000, status=1)


def test_only_the_owner_sets_an_acl(mount):
    file = mount / "f"
    file.write_text("")
    os.chown(file, 1000, 1000)
    run("setfacl", "-m", "u:7:r", file, user=1001, status=1)
    run("setfacl", "-m", "u:7:r", file, user=1000)
    run("setfacl", "-b", file, user=1001, status=1)
    assert "user:7:r--" in acl_of(file)
    run("setfacl", "-d", "-m", "u:7:r", file, status=1)


def test_set_group_id_goes_with_a_strangers_acl(mount):
    file = mount / "f"
    file.write_text("")
    os.chown(file, 1000, 50)
    os.chmod(file, 0o2755)
    run("setfacl", "-m", "u:7:r", file)
    assert mode_of(file) == 0o2755
    run("setfacl", "-m", "u:7:rx", file, user=1000)
    assert mode_of(file) == 0o755


def test_default_acls_are_inherited(mount):
    directory = mount / "d"
    directory.mkdir()
    run("setfacl", "-d", "-m", "u:1000:rwx,g::rx,o::-", directory)
    run("setfacl", "-m", "u:1000:rwx", directory)
    made = "umask 077; cd {}; echo x >f; mkdir s; ln -s f l; mkfifo p; mkdir -p s/t; echo y >s/t/f"
    run("sh", "-c", made.format(directory), user=1000)
    named = "user::{},user:1000:rwx,group::r-x,mask::{},other::---"
    default = named.format("rwx", "rwx")
    assert acl_of(directory / "f") == named.format("rw-", "rw-")
    assert acl_of(directory / "p") == named.format("rw-", "rw-")
    inherited = ",".join("default:" + entry for entry in default.split(","))
    assert acl_of(directory / "s" / "t") == default + "," + inherited
    assert mode_of(directory / "s" / "t" / "f") == 0o660
    # Without one the umask is back.
    run("setfacl", "-k", directory)
    run("sh", "-c", f"umask 077; echo x >{directory}/g; mkdir {directory}/u", user=1000)
    assert mode_of(directory / "g") == 0o600
    assert mode_of(directory / "u") == 0o700


def test_acls_are_copied(mount, tmp_path):
    (mount / "f").write_text("text")
    run("setfacl", "-m", "u:1000:rw,m::r", mount / "f")
    run("cp", "-a", mount / "f", mount / "g")
    assert acl_of(mount / "g") == acl_of(mount / "f")
    saved = run("getfacl", "-Rnp", mount / "f")
    run("setfacl", "-b", mount / "f")
    (tmp_path / "saved").write_text(saved)
    run("setfacl", f"--restore={tmp_path / 'saved'}")
    assert acl_of(mount / "f") == acl_of(mount / "g")


def test_acls_without_default_permissions(mounted):
    mount = mounted("allow_other,no_default_permissions")
    directory = mount / "d"
    directory.mkdir(mode=0o700)
    (directory / "f").write_text("text")
    os.chmod(directory / "f", 0o600)
    assert as_nobody(os.stat, directory / "f") == errno.EACCES
    run("setfacl", "-m", "u:65534:x", directory)
    assert as_nobody(os.stat, directory / "f") == 0
    assert as_nobody(os.listdir, directory) == errno.EACCES
    assert as_nobody(os.open, directory / "f", os.O_RDONLY) == errno.EACCES
    run("setfacl", "-m", "u:65534:r", directory / "f")
    assert as_nobody(os.open, directory / "f", os.O_RDONLY) == 0
    assert as_nobody(os.open, directory / "f", os.O_WRONLY) == errno.EACCES


def test_acls_between_mounts(two):
    a, b = two
    (a / "d").mkdir(mode=0o700)
    (a / "d" / "f").write_text("text")
    os.chmod(a / "d" / "f", 0o600)
    assert as_nobody(os.listdir, b / "d") == errno.EACCES
    run("setfacl", "-m", "u:65534:rx", a / "d")
    run("setfacl", "-m", "u:65534:r", a / "d" / "f")
    assert acl_of(b / "d" / "f") == "user::rw-,user:65534:r--,group::---,mask::r--,other::---"
    assert as_nobody(os.listdir, b / "d") == 0
    assert as_nobody(os.open, b / "d" / "f", os.O_RDONLY) == 0
    os.chmod(a / "d" / "f", 0o600)  # the mask
    assert as_nobody(os.open, b / "d" / "f", os.O_RDONLY) == errno.EACCES
    run("setfacl", "-d", "-m", "u:7:r", b / "d")
    (a / "d" / "g").write_text("")
    assert "user:7:r--" in acl_of(b / "d" / "g")


def test_cached_acls_follow_within_a_second(mounted):
    a, b = mounted("allow_other"), mounted("allow_other")
    (a / "f").write_text("text")
    os.chmod(a / "f", 0o600)
    assert as_nobody(os.open, b / "f", os.O_RDONLY) == errno.EACCES
    run("setfacl", "-m", "u:65534:r", a / "f")
    wait_until(lambda: as_nobody(os.open, b / "f", os.O_RDONLY) == 0, what="the ACL elsewhere")
    run("setfacl", "-b", b / "f")
    wait_until(
        lambda: as_nobody(os.open, a / "f", os.O_RDONLY) == errno.EACCES, what="and its removal"
    )


# ---- capabilities and the set-id bits

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep


def has_capability(path):
    return "security.capability" in os.listxattr(path)


def test_capabilities_go_with_a_write(mount):
    file = mount / "f"
    file.write_text("text")
    os.chmod(file, 0o755)

    def give():
        run("setcap", "cap_net_bind_service+ep", file)
        assert os.getxattr(file, "security.capability")[:8] == CAPABILITY[:8]

    def write():
        fd = os.open(file, os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    give()
    assert "cap_net_bind_service" in run("getcap", file)
    write()
    assert not has_capability(file)
    assert run("getcap", file) == ""
    for change in (
        lambda: os.truncate(file, 1),
        lambda: file.write_text("whole"),
        lambda: os.chown(file, 5, 5),
        lambda: run("sh", "-c", f"echo more >>{file}"),
        lambda: run("fallocate", "-p", "-o", "0", "-l", "2", file),
    ):
        give()
        change()
        assert not has_capability(file)
    os.chmod(file, 0o777)
    for line in ("-l 1", "-l 100000", "-p -o 0 -l 2", "-p -o 200000 -l 2"):
        give()
        run("fallocate", *line.split(), file, user=1000)
        assert not has_capability(file)
    give()
    run("setcap", "-r", file, user=1000, status=1)
    assert has_capability(file)
    os.chmod(file, 0o700)
    os.utime(file)
    assert has_capability(file)
    assert as_nobody(os.setxattr, file, "security.capability", CAPABILITY) == errno.EPERM


@pytest.mark.parametrize("options", ["", "writeback_cache"])
def test_set_group_id_without_group_execution(mounted, options):
    """It stays where the writer is in the group, by whichever of his groups; as on Linux since 6.2."""
    mount = mounted("allow_other,suid", *filter(None, [options]))
    file, other = mount / "f", mount / "other"
    file.write_text("text")
    other.write_text("other")

    def write():
        fd = os.open(file, os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    def allocate():
        fd = os.open(file, os.O_WRONLY)
        os.posix_fallocate(fd, 0, 1)
        os.close(fd)

    def copy():
        source, target = os.open(other, os.O_RDONLY), os.open(file, os.O_WRONLY)
        assert os.copy_file_range(source, target, 3) == 3
        os.close(source)
        os.close(target)

    def as_member(action):
        return as_nobody(action, groups=[7, 4711])

    cases = [
        (65534, as_nobody, ((0o6777, 0o777), (0o6767, 0o2767), (0o2666, 0o2666))),
        (4711, as_member, ((0o6777, 0o777), (0o6767, 0o2767), (0o2666, 0o2666))),
        (4711, as_nobody, ((0o6777, 0o777), (0o6767, 0o767), (0o2666, 0o666))),
    ]
    cut = (lambda: open(file, "w").close(), lambda: os.truncate(file, 0))
    for action in (write, allocate, copy, *cut):
        for group, caller, modes in cases:
            for before, after in modes:
                os.chown(file, 65534, group)
                os.chmod(file, before)
                assert caller(action) == 0
                # At once, also to who asks for nothing but the mode, which the kernel has cached.
                assert run("stat", "-c", "%a", file) == f"{after:o}\n"
                assert mode_of(file) == after


def test_namespaces(mount):
    (mount / "f").write_text("")
    os.chmod(mount / "f", 0o666)
    os.symlink("f", mount / "l")
    os.mkfifo(mount / "p")
    os.mkdir(mount / "sticky")
    os.chmod(mount / "sticky", 0o1777)

    def errno_of(name, path, follow=True):
        try:
            os.setxattr(path, name, b"1", follow_symlinks=follow)
        except OSError as error:
            return error.errno
        return 0

    assert errno_of("user.a", mount / "f") == 0
    assert errno_of("user.a", mount / "p") == errno.EPERM
    assert errno_of("user.a", mount / "l", follow=False) == errno.EPERM
    assert errno_of("trusted.a", mount / "l", follow=False) == 0
    assert errno_of("trusted.a", mount / "f") == 0
    assert errno_of("security.a", mount / "f") == 0
    assert errno_of("system.a", mount / "f") == errno.EOPNOTSUPP
    assert errno_of("other.a", mount / "f") == errno.EOPNOTSUPP
    assert sorted(os.listxattr(mount / "f")) == ["security.a", "trusted.a", "user.a"]
    assert as_nobody(os.setxattr, mount / "f", "user.b", b"1") == 0
    assert as_nobody(os.setxattr, mount / "f", "trusted.b", b"1") == errno.EPERM
    assert as_nobody(os.getxattr, mount / "f", "trusted.a") == errno.ENODATA
    assert as_nobody(os.getxattr, mount / "f", "security.a") == 0
    assert as_nobody(os.setxattr, mount / "sticky", "user.a", b"1") == errno.EPERM
    assert "trusted.a" not in run("getfattr", "-m-", mount / "f", user=1000)


# ---- inode flags


def flags_of(path):
    return set(run("lsattr", "-d", path).split()[0]) - {"-"}


def errno_of(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return error.errno
    return 0


def test_chattr_immutable(mount):
    file = mount / "f"
    file.write_text("text")
    assert flags_of(file) == set()
    run("chattr", "+i", file)
    assert flags_of(file) == {"i"}
    for action in (
        lambda: open(file, "a"),
        lambda: open(file, "r+"),
        lambda: open(file, "w"),
        lambda: os.truncate(file, 0),
        lambda: os.unlink(file),
        lambda: os.rename(file, mount / "g"),
        lambda: os.link(file, mount / "g"),
        lambda: os.chmod(file, 0o600),
        lambda: os.chown(file, 1, 1),
        lambda: os.utime(file),
        lambda: os.utime(file, (1, 1)),
        lambda: os.setxattr(file, "user.a", b"1"),
    ):
        assert errno_of(action) == errno.EPERM
    run("setfacl", "-m", "u:1:r", file, status=1)
    assert file.read_text() == "text"
    assert run("chattr", "-i", file, user=1000, status=1) == ""
    run("chattr", "-i", file)
    file.write_text("other")
    os.unlink(file)


def test_chattr_append_only(mount):
    file = mount / "log"
    file.write_text("one\n")
    run("chattr", "+a", file)
    assert flags_of(file) == {"a"}
    assert errno_of(lambda: open(file, "r+")) == errno.EPERM
    assert errno_of(lambda: open(file, "w")) == errno.EPERM
    assert errno_of(lambda: os.truncate(file, 0)) == errno.EPERM
    assert errno_of(lambda: os.unlink(file)) == errno.EPERM
    with open(file, "a") as log:
        log.write("two\n")
        log.flush()
        assert errno_of(lambda: os.ftruncate(log.fileno(), 0)) == errno.EPERM
    assert file.read_text() == "one\ntwo\n"
    os.utime(file)
    run("chattr", "-a", file)
    os.unlink(file)


def test_chattr_directories(mount):
    directory = mount / "d"
    directory.mkdir()
    (directory / "f").write_text("")
    run("chattr", "+i", directory)
    assert flags_of(directory) == {"i"}
    assert errno_of(lambda: (directory / "g").write_text("")) == errno.EPERM
    assert errno_of(os.mkdir, directory / "s") == errno.EPERM
    assert errno_of(os.unlink, directory / "f") == errno.EPERM
    assert errno_of(os.rmdir, directory) == errno.EPERM
    (directory / "f").write_text("what is in it may change")
    run("chattr", "-i", "+a", directory)
    (directory / "g").write_text("")
    assert errno_of(os.unlink, directory / "g") == errno.EPERM
    assert errno_of(os.rename, directory / "g", mount / "g") == errno.EPERM
    run("chattr", "-a", directory)
    os.rename(directory / "g", mount / "g")


def test_chattr_between_mounts(two):
    a, b = two
    (a / "f").write_text("text")
    run("chattr", "+i", a / "f")
    assert flags_of(b / "f") == {"i"}
    assert errno_of(lambda: open(b / "f", "a")) == errno.EPERM
    assert errno_of(os.unlink, b / "f") == errno.EPERM
    run("chattr", "-i", b / "f")
    os.unlink(a / "f")


def test_other_flags_are_refused(mount):
    (mount / "f").write_text("")
    run("chattr", "+S", mount / "f", status=1)
    assert flags_of(mount / "f") == set()
