"""Where the data of a test's volume is."""

import itertools
import os
import pathlib

numbers = itertools.count()


def storage(local):
    """`local`, or a prefix of its own in the server of s3.sh whose folder SKERRY_TEST_S3 names; its
    keys are in the environment from now on."""
    named = os.environ.get("SKERRY_TEST_S3")
    if not named:
        return local
    server = pathlib.Path(named)
    use_keys(server)
    endpoint = (server / "endpoint").read_text().strip()
    return f"s3://volumes/{os.getpid()}-{next(numbers)}?endpoint={endpoint}"


def use_keys(server):
    """Of the server of s3.sh in that folder, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(server / "credentials")
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
