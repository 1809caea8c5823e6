"""Ed25519: the holder of the signing key signs, those who trust its public key check, nothing changes for others."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from support.answers import answer, question

from claude_force_nb.answers import AnswerFile
from claude_force_nb.errors import AnswerFileWarning

pytest.importorskip("cryptography")


def keys(home: Path, *words: str) -> Any:
    environment = {**os.environ, "CLAUDE_FORCE_HOME": str(home)}
    command = [sys.executable, "-m", "claude_force_nb", "keys", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def opened(path: Path, home: Path) -> AnswerFile:
    return AnswerFile(path, environ={"CLAUDE_FORCE_HOME": str(home)})


def test_who_trusts_the_public_key_knows_who_signed(tmp_path: Path) -> None:
    """Signed by one, known to the other who trusts the key and to nobody else; the signing key stays in its folder, for its user."""
    author, reader, stranger = (tmp_path / name for name in ("author", "reader", "stranger"))
    made = keys(author, "new")
    public = made.stdout.strip()
    assert (made.returncode, len(public)) == (0, 64)
    assert keys(author, "show").stdout.strip() == public
    assert keys(author, "new").returncode == 2, "a second one would replace it"
    (key_file,) = author.rglob("*signing.key")
    assert os.name != "posix" or key_file.stat().st_mode & 0o777 == 0o600
    assert keys(reader, "trust", public, "the author").returncode == 0
    assert keys(reader, "list").stdout == f"{public} the author\n"
    assert keys(reader, "trust", "abc").returncode == 2
    assert keys(reader, "show").returncode == 1
    path = tmp_path / "x.answers.jsonl"
    file = opened(path, author)
    file.put(question("why?"), answer("because"))
    file.save()
    assert key_file.read_bytes().strip() not in path.read_bytes()
    assert [opened(path, home).unsigned for home in (author, reader, stranger)] == [0, 0, 1]
    assert str(opened(path, stranger).get(question("why?"))) == "because"


def test_every_byte_of_the_signature(tmp_path: Path) -> None:
    """A changed byte of it is named by who trusts the key, or makes it the signature of somebody unknown; the answer is the same."""
    assert keys(tmp_path / "author", "new").returncode == 0
    path = tmp_path / "x.answers.jsonl"
    file = opened(path, tmp_path / "author")
    file.put(question("why?"), answer("because"))
    file.save()
    data = path.read_bytes()
    start = data.index(b',"signature"')
    refused = 0
    for place in range(start, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 0x01
        path.write_bytes(bytes(damaged))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnswerFileWarning)
            again = opened(path, tmp_path / "author")
            given = again.get(question("why?"))
            faults = [fault.number for fault in again.faults]
        assert (faults, given) == ([2], None) or (faults == [] and again.unsigned == 1), place
        refused += bool(faults)
    assert refused > 128
