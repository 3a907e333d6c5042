"""Access times of files that are read through a mount."""

import os

from mounts import wait_until


def test_access_times(mounted):
    for mode, changes in (("noatime", False), ("relatime", True), ("strictatime", True)):
        mount = mounted(f"allow_other,{mode},attr_timeout=0")
        file = mount / mode
        file.write_text("text")
        os.utime(file, ns=(10**18, 10**18))
        assert file.read_text() == "text"
        status = os.stat(file)
        assert (status.st_atime_ns != 10**18) == changes
        assert status.st_mtime_ns == 10**18
    other = mounted("allow_other,attr_timeout=0")
    for mode in ("relatime", "strictatime"):
        wait_until(lambda: os.stat(other / mode).st_atime_ns != 10**18, what="the access time")
    assert os.stat(other / "noatime").st_atime_ns == 10**18
