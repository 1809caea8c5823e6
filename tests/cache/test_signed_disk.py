"""The only kind of row that the store accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diskcache.core import MODE_BINARY, MODE_PICKLE, MODE_RAW, MODE_TEXT

from claude_force_nb.cache.database import DamagedError
from claude_force_nb.cache.signed_disk import SignedDisk


@pytest.fixture
def disk(tmp_path: Path) -> SignedDisk:
    return SignedDisk(str(tmp_path), min_file_size=0, pickle_protocol=0)


def test_text_keys_and_bytes_values_come_back(disk: SignedDisk) -> None:
    """As they are, and inside the row."""
    assert disk.put("key") == ("key", True)
    assert disk.get("key", True) == "key"
    assert disk.store(b"value", False, key="key") == (5, MODE_RAW, None, b"value")
    assert disk.fetch(MODE_RAW, None, b"value", False) == b"value"


@pytest.mark.parametrize("key", [b"key", 5, None, ("key",), bytearray(b"key")])
def test_any_other_key_is_refused(disk: SignedDisk, key: Any) -> None:
    """Nothing is pickled, and nothing that a row holds is unpickled."""
    with pytest.raises(TypeError, match="must be text"):
        disk.put(key)
    with pytest.raises(DamagedError, match="must be text"):
        disk.get(key, True)
    with pytest.raises(DamagedError, match="must be text"):
        disk.get("key", False)


def test_any_other_value_is_refused(disk: SignedDisk, tmp_path: Path) -> None:
    """No text, no file, no object; what a row names as its file is neither opened nor removed."""
    for value in ("text", 5, None, bytearray(b"x")):
        with pytest.raises(TypeError, match="must be bytes"):
            disk.store(value, False)
        with pytest.raises(DamagedError):
            disk.fetch(MODE_RAW, None, value, False)
    with pytest.raises(TypeError, match="must be bytes"):
        disk.store(b"value", True)
    for mode in (MODE_BINARY, MODE_TEXT, MODE_PICKLE, 0, "1", None):
        with pytest.raises(DamagedError):
            disk.fetch(mode, None, b"value", False)
    (tmp_path / "file").write_bytes(b"value")
    with pytest.raises(DamagedError):
        disk.fetch(MODE_RAW, "file", b"value", False)
    with pytest.raises(DamagedError):
        disk.fetch(MODE_RAW, None, b"value", True)
    with pytest.raises(DamagedError):
        disk.filename()
    disk.remove(str(tmp_path / "file"))
    assert (tmp_path / "file").exists()
