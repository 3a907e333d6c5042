"""Encryption and compression of a volume."""

import errno

import pytest
import skerry

KEY = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
OTHER = "00112233445566778899aabbccddeeff102132435465768798a9babbdcedfe0f"


@pytest.fixture
def keys(tmp_path, monkeypatch):
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("SKERRY_TEST_KEY", OTHER)
    return f"file:{tmp_path}/key", "env:SKERRY_TEST_KEY"


def test_a_volume_is_encrypted_and_its_key_rotated(url, keys):
    first, second = keys
    with skerry.Volume(url) as volume:
        volume.open("/old", "w").write("old" * 9999)
    skerry.configure(url, encryption_key=first, compression="zstd")
    with pytest.raises(OSError) as caught:
        skerry.Volume(url)
    assert caught.value.errno == errno.ENOKEY
    with skerry.Volume(url, encryption_key=first) as volume:
        with volume.open("/new", "w") as file:
            file.write("new" * 9999)
        with pytest.raises(OSError) as caught:
            skerry.rotate_key(url, encryption_key=first, new_data_key=True)
        assert caught.value.errno == errno.EBUSY
        skerry.rotate_key(url, encryption_key=first, new_encryption_key=second)
        assert volume.open("/new").read() == "new" * 9999
    with pytest.raises(OSError) as caught:
        skerry.Volume(url, encryption_key=first)
    assert caught.value.errno == errno.EKEYREJECTED
    assert KEY not in str(caught.value) and OTHER not in str(caught.value)
    with skerry.Volume(url, encryption_key=second) as volume:
        assert volume.open("/old").read() == "old" * 9999
        assert volume.open("/new").read() == "new" * 9999
        info = volume.info()
        assert info["compression"] == "zstd"
        assert info["encryption"]["key_source"] == "env"


def test_format_takes_a_key(tmp_path, keys):
    url = f"sqlite://{tmp_path}/other.db"
    skerry.format(url, encryption_key=keys[0], compression="lz4")
    with skerry.Volume(url, encryption_key=keys[0]) as volume:
        assert volume.info()["encryption"]["data_key"] == 1
