"""Writes, reads and renames a file in a volume: python3 hello.py sqlite:///abs/path/vol.db"""

import sys

import skerry

url = sys.argv[1]
try:
    skerry.format(url)
except FileExistsError:
    pass

with skerry.Volume(url) as volume:
    with volume.open("/draft.txt", "w") as file:
        file.write("hello, volume\n")
    volume.rename("/draft.txt", "/hello.txt")
    print(volume.open("/hello.txt").read(), end="")
