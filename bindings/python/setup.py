"""The version comes from skerry.h; the wheel holds a library, so it is of one platform, but of no
one version of Python."""

import os
import pathlib
import re

from setuptools import setup
from wheel.bdist_wheel import bdist_wheel


def version() -> str:
    here = pathlib.Path(__file__).resolve().parent
    header = pathlib.Path(os.environ.get("SKERRY_HEADER", here / "../../include/skerry/skerry.h"))
    parts = re.findall(r"#define SKERRY_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header.read_text())
    return ".".join(parts)


class PlatformWheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


setup(version=version(), cmdclass={"bdist_wheel": PlatformWheel})
