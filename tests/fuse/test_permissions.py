"""Access control lists through a mount, set and shown with the tools people use."""

import errno
import os
import subprocess

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
