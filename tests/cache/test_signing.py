"""The signed form of a cache entry, and where the secret comes from."""

from __future__ import annotations

import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cache_tools import answer, fingerprint

from claude_force_nb.cache import ResponseCache
from claude_force_nb.cache.signing import (
    NEVER,
    OVERHEAD_BYTES,
    BadSignatureError,
    KeyRing,
    SignatureError,
    UnknownKeyError,
)
from claude_force_nb.errors import CacheKeyWarning, CacheSecretWarning, CacheWarning, ClaudeForceWarning, SecretError
from claude_force_nb.storage.secret import KEY_FILE_NAME, find_secrets, read_or_make_key, weakness

SECRET = b"a secret of this test, 0123456789"
FINGERPRINT = bytes(range(32))
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def sign(body: bytes = b'{"text":"hello"}', secret: bytes = SECRET) -> bytes:
    return KeyRing([secret]).sign(body, fingerprint=FINGERPRINT, created=1000, expires=2000)


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.integers(0, NEVER), st.integers(0, NEVER))
def test_what_is_signed_comes_back(body: bytes, fingerprint: bytes, created: int, expires: int) -> None:
    """unsign is the inverse of sign, for every body and time."""
    ring = KeyRing([SECRET])
    value = ring.sign(body, fingerprint=fingerprint, created=created, expires=expires)
    assert len(value) == len(body) + OVERHEAD_BYTES
    assert ring.unsign(value, fingerprint=fingerprint) == (body, created, expires)


def test_every_bit_counts() -> None:
    """With any single bit flipped an entry is bad; never intact, and never taken for an entry of another key."""
    ring = KeyRing([SECRET])
    value = sign(b'{"text":"' + b"x" * 200 + b'"}')
    number = int.from_bytes(value, "big")
    for bit in range(len(value) * 8):
        flipped = (number ^ (1 << bit)).to_bytes(len(value), "big")
        with pytest.raises(BadSignatureError):
            ring.unsign(flipped, fingerprint=FINGERPRINT)


def test_every_length_counts() -> None:
    """Cut at any length, or made longer, an entry is bad."""
    ring = KeyRing([SECRET])
    value = sign()
    for length in range(len(value)):
        with pytest.raises(BadSignatureError):
            ring.unsign(value[:length], fingerprint=FINGERPRINT)
    with pytest.raises(BadSignatureError):
        ring.unsign(value + b"\0", fingerprint=FINGERPRINT)


@given(st.binary(max_size=400))
def test_noise_is_not_an_entry(noise: bytes) -> None:
    """Whatever the bytes, the outcome is a signature error and nothing else."""
    with pytest.raises(SignatureError):
        KeyRing([SECRET]).unsign(noise, fingerprint=FINGERPRINT)


def test_an_entry_answers_only_for_its_own_fingerprint() -> None:
    """The value of one key is invalid under another."""
    with pytest.raises(BadSignatureError):
        KeyRing([SECRET]).unsign(sign(), fingerprint=bytes(32))


def test_header_and_body_of_two_entries_do_not_mix() -> None:
    """Each entry is signed as a whole: the header, MAC or body of another does not fit, though the key is the same."""
    ring = KeyRing([SECRET])
    old, new = sign(b'{"text":"1"}'), sign(b'{"text":"2"}')
    cut = OVERHEAD_BYTES - 32
    for mixed in (old[:cut] + new[cut:], old[:OVERHEAD_BYTES] + new[OVERHEAD_BYTES:], new[:cut] + old[cut:]):
        with pytest.raises(BadSignatureError):
            ring.unsign(mixed, fingerprint=FINGERPRINT)


def test_rotation_signs_with_the_newest_and_verifies_with_all() -> None:
    """After a rotation old entries are read; after the old secret is dropped they are foreign, not corrupt."""
    rotated = KeyRing([b"the new secret of this test", SECRET])
    assert rotated.unsign(sign(), fingerprint=FINGERPRINT)[0] == b'{"text":"hello"}'
    value = rotated.sign(b"{}", fingerprint=FINGERPRINT, created=0, expires=1)
    with pytest.raises(UnknownKeyError) as caught:
        KeyRing([SECRET]).unsign(value, fingerprint=FINGERPRINT)
    assert caught.value.key_id == rotated.key_id


def test_the_secret_itself_signs_nothing() -> None:
    """The signing key is derived: the plain secret, and the public key id, do not make a MAC that fits."""
    ring = KeyRing([SECRET])
    value = sign()
    header, body = value[: OVERHEAD_BYTES - 32], value[OVERHEAD_BYTES:]
    assert ring.unsign(value, fingerprint=FINGERPRINT)[0] == body
    for key in (SECRET, ring.key_id, b""):
        forged = header + hmac.digest(key, header + body, "sha256") + body
        with pytest.raises(BadSignatureError):
            ring.unsign(forged, fingerprint=FINGERPRINT)


def test_the_layout_is_fixed() -> None:
    """Entries written today are read by later versions: the bytes of one entry are known."""
    assert sign(b"{}").hex() == (
        "43464e31" + KeyRing([SECRET]).key_id.hex() + "00000000000003e8"
        "00000000000007d0" + FINGERPRINT.hex() + LAYOUT_TAIL
    )


LAYOUT_TAIL = "66a0709cd90e8a6e3635aa7af95b8fdd2664d4621b22bbdb7d39aac13d42bb441e1f94697b7d"


@pytest.mark.parametrize("secrets", [[], [b""], [SECRET, b""]])
def test_a_ring_needs_secrets(secrets: list) -> None:
    """No secret and an empty one are refused."""
    with pytest.raises(ValueError, match="secret"):
        KeyRing(secrets)


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    """Neither repr, str nor vars of the objects, nor the errors, hold the secret."""
    secret = "hush-hush-0123456789abcdef"
    ring = KeyRing([secret.encode()])
    cache = ResponseCache(tmp_path, secret=secret)
    assert secret not in repr(ring) + str(ring) + repr(cache) + str(cache)
    with pytest.raises(TypeError) as caught:
        ring.__reduce__()
    assert secret not in str(caught.value)
    for bad in ("hush", "changeme-hush-hush-hush"):
        with pytest.raises(SecretError) as refused:
            find_secrets(bad, {"CLAUDE_FORCE_REQUIRE_SECRET": "1"})
        assert bad not in str(refused.value)


WEAK = [
    "changeme",
    "change-me",
    "CHANGE_ME",
    "change_me_please",
    "your-strong-random-secret",
    "your-secret-key",
    "YOUR_SECRET_HERE",
    "secret",
    "default",
    "password",
    "test",
    "dev",
    "placeholder",
    "supersecret",
    "0123456789abcde",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "xxxxxxxxxxxxxxxx",
    "vwxyvwxyvwxyvwxy",
    "replace-me-with-a-secret",
]


@pytest.mark.parametrize("secret", WEAK)
def test_weak_secrets_are_known(secret: str, tmp_path: Path) -> None:
    """Placeholders, short and monotonous secrets warn, and are errors where a secret is required."""
    assert weakness(secret)
    with pytest.warns(CacheSecretWarning, match="CLAUDE_CACHE_SECRET"):
        ResponseCache(tmp_path, environ={"CLAUDE_CACHE_SECRET": secret})
    with pytest.raises(SecretError):
        ResponseCache(tmp_path, environ={"CLAUDE_CACHE_SECRET": secret, "CLAUDE_FORCE_REQUIRE_SECRET": "1"})
    with pytest.warns(CacheSecretWarning, match="CLAUDE_CACHE_SECRET_PREVIOUS"):
        ResponseCache(
            tmp_path, environ={"CLAUDE_CACHE_SECRET": SECRET.decode(), "CLAUDE_CACHE_SECRET_PREVIOUS": "ok," + secret}
        )


@pytest.mark.parametrize(
    "secret",
    [
        "0123456789abcdef",
        "vwxyzvwxyzvwxyzv",
        "correct horse battery",
        "5f4dcc3b5aa765d61d8327deb882cf99",
    ],
)
def test_other_secrets_are_taken_without_a_word(secret: str, tmp_path: Path) -> None:
    """16 characters, five of them different, are enough: no warning, even where a secret is required."""
    ResponseCache(tmp_path, environ={"CLAUDE_CACHE_SECRET": secret, "CLAUDE_FORCE_REQUIRE_SECRET": "1"})
    ResponseCache(tmp_path, secret=secret.encode())


@pytest.mark.parametrize("flag", ["1", "true", "yes", "on"])
def test_a_required_secret_must_be_there(flag: str, tmp_path: Path) -> None:
    """CLAUDE_FORCE_REQUIRE_SECRET makes a missing secret an error, and no key file."""
    with pytest.raises(SecretError, match="not set"):
        ResponseCache(tmp_path, environ={"CLAUDE_FORCE_REQUIRE_SECRET": flag}, config_directory=tmp_path / "config")
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("flag", ["", "0", "false", "no", "off"])
def test_an_explicit_no_requires_nothing(flag: str) -> None:
    """The words for no mean no."""
    assert find_secrets(None, {"CLAUDE_FORCE_REQUIRE_SECRET": flag}) == (None, [], [])


@pytest.mark.parametrize("secret", ["", "   ", b"", 7])
def test_an_empty_secret_in_code_is_an_error(secret: object, tmp_path: Path) -> None:
    """A secret that was given and is empty is a mistake, not a request for a key file."""
    with pytest.raises(SecretError):
        ResponseCache(tmp_path, secret=secret)  # type: ignore[arg-type]


def test_previous_secrets_are_a_list_or_one_with_a_comma() -> None:
    """Commas separate; the whole is tried too, so that a secret with a comma can be rotated out."""
    _, previous, _ = find_secrets(
        None, {"CLAUDE_CACHE_SECRET_PREVIOUS": " first-secret-0123456, second-secret-012345 "}
    )
    assert previous == [
        b"first-secret-0123456",
        b"second-secret-012345",
        b"first-secret-0123456, second-secret-012345",
    ]


def test_a_key_file_is_made_once(tmp_path: Path) -> None:
    """The first call makes a private random key and says so; the next reads it and says nothing."""
    path = tmp_path / "new" / "config" / KEY_FILE_NAME
    secret, message = read_or_make_key(path)
    assert len(secret) == 64
    assert message is not None
    assert str(path) in message
    assert secret.decode() not in message
    assert read_or_make_key(path) == (secret, None)
    assert os.listdir(path.parent) == [KEY_FILE_NAME]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_a_readable_key_file_is_closed_and_said(tmp_path: Path) -> None:
    """A key that others could read is used on, its mode is mended, and the user is told once."""
    path = tmp_path / KEY_FILE_NAME
    secret, _ = read_or_make_key(path)
    path.chmod(0o644)
    again, message = read_or_make_key(path)
    assert again == secret
    assert message is not None
    assert "0600" in message
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make_key(path) == (secret, None)


def _symlink(path: Path) -> None:
    read_or_make_key(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _writable(path: Path) -> None:
    read_or_make_key(path)
    path.chmod(0o620)


def _foreign(path: Path) -> None:
    read_or_make_key(path)
    os.chown(str(path), 12345, 12345)


UNUSABLE = {
    "symlink": _symlink,
    "dangling symlink": _dangling,
    "writable by the group": _writable,
    "of another user": _foreign,
    "directory": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(str(path), 0o600),
    "empty": lambda path: path.touch(0o600),
    "short": lambda path: (path.touch(0o600), path.write_text("abc"))[0],
    "not hexadecimal": lambda path: (path.touch(0o600), path.write_text("z" * 64))[0],
}


@posix
@pytest.mark.parametrize("name", sorted(UNUSABLE))
def test_an_unusable_key_file_is_left_alone(name: str, tmp_path: Path) -> None:
    """Whatever is in the key's place and is not a safe key: the cache is off with one warning, and nothing is touched."""
    if name == "of another user" and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = tmp_path / "config" / KEY_FILE_NAME
    path.parent.mkdir()
    UNUSABLE[name](path)
    before = os.lstat(str(path))
    cache = ResponseCache(tmp_path / "cache", environ={}, config_directory=path.parent)
    with pytest.warns(CacheSecretWarning, match="continuing without a cache") as caught:
        assert [cache.get(digit * 64) for digit in "0123"] == [None] * 4
    assert len(caught) == 1
    after = os.lstat(str(path))
    assert (after.st_mode, after.st_ino, after.st_size) == (before.st_mode, before.st_ino, before.st_size)
    cache.close()


def test_a_key_is_never_kept_in_the_cache_directory(tmp_path: Path) -> None:
    """A config directory inside the cache directory cannot hold a key, so nothing is cached."""
    cache = ResponseCache(tmp_path, environ={}, config_directory=tmp_path / "config")
    with pytest.warns(CacheSecretWarning, match="its own key"):
        assert cache.get("0" * 64) is None
    assert not (tmp_path / "config").exists()
    cache.close()


def test_no_place_for_a_key_costs_a_warning(tmp_path: Path) -> None:
    """A config directory that cannot be made turns the cache off with one warning."""
    (tmp_path / "file").write_text("")
    cache = ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path / "file" / "config")
    with pytest.warns(CacheSecretWarning, match="a key cannot be saved") as caught:
        assert not cache.put(fingerprint(1), answer())
    assert cache.get(fingerprint(1)) is None
    assert len(caught) == 1
    cache.close()


def test_a_generated_key_warns_once_per_key(tmp_path: Path) -> None:
    """The kernel that makes the key is told, with the first answer that is kept; the next one is not."""
    for expected in (1, 0):
        with ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path / "config") as cache:
            assert (cache.get(fingerprint(1)) is None) == bool(expected)
            if expected:
                assert not (tmp_path / "config").exists()
                with pytest.warns(CacheKeyWarning, match="CLAUDE_CACHE_SECRET is not set"):
                    assert cache.put(fingerprint(1), answer())
            assert cache.put(fingerprint(2), answer())
            assert cache.get(fingerprint(1)) is not None


def test_an_answer_that_is_not_kept_says_nothing_of_a_key(tmp_path: Path) -> None:
    """A cache that cannot be written has nothing to sign; that it cannot is said, and nothing else."""
    (tmp_path / "cache").write_text("")
    with ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path / "config") as cache:
        with pytest.warns(ClaudeForceWarning) as caught:
            assert not cache.put(fingerprint(1), answer())
        assert [each.category for each in caught] == [CacheWarning]


def test_entries_without_their_key_are_those_of_another(tmp_path: Path) -> None:
    """A key file that is gone leaves entries nobody can check: misses, and no error."""
    with ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path / "config") as cache, pytest.warns(
        CacheKeyWarning
    ):
        assert cache.put(fingerprint(1), answer())
    (tmp_path / "config" / KEY_FILE_NAME).unlink()
    with ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path / "config") as cache:
        assert cache.get(fingerprint(1)) is None
        assert cache.stats().foreign_key == 1


def test_looking_needs_no_key(tmp_path: Path) -> None:
    """stats, clear and get create no key; the first put does."""
    with ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path / "config") as cache:
        assert cache.stats().entries == cache.clear() == 0
        assert cache.get(fingerprint(1)) is None
        assert not (tmp_path / "config").exists()
        with pytest.warns(CacheKeyWarning, match="made a random key"):
            assert cache.put(fingerprint(1), answer())


_MAKE = """
import sys, time
from pathlib import Path
from claude_force_nb.storage.secret import read_or_make_key
while time.time() < float(sys.argv[2]): pass
secret, message = read_or_make_key(Path(sys.argv[1]))
print(secret.decode(), "made" if message else "read")
"""


def test_kernels_starting_at_once_share_one_key(tmp_path: Path) -> None:
    """Of several processes that find no key at the same moment one makes it, and all use it."""
    import time

    start = str(time.time() + 0.8)
    path = str(tmp_path / "config" / KEY_FILE_NAME)
    running = [
        subprocess.Popen([sys.executable, "-c", _MAKE, path, start], stdout=subprocess.PIPE, universal_newlines=True)
        for _ in range(4)
    ]
    lines = [process.communicate()[0].split() for process in running]
    assert len({secret for secret, _ in lines}) == 1
    assert sorted(word for _, word in lines) == ["made", "read", "read", "read"]
    assert os.listdir(os.path.dirname(path)) == [KEY_FILE_NAME]


def test_two_makers_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without links the key is renamed into place, and one that is there is kept."""

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / KEY_FILE_NAME
    secret, message = read_or_make_key(path)
    assert message
    assert read_or_make_key(path) == (secret, None)
    assert os.listdir(str(tmp_path)) == [KEY_FILE_NAME]


@pytest.mark.parametrize("raced", [True, False])
def test_a_file_system_without_hard_links_keeps_one_key(
    raced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the key cannot be linked into place it is renamed, and the loser of a race reads the winner's."""
    path = tmp_path / "ours" / "cache.key"
    winner = b"0123456789abcdef" * 4

    def refuse(_source: str, target: str) -> None:
        if raced:
            Path(target).write_bytes(winner + b"\n")
            os.chmod(target, 0o600)
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    key, message = read_or_make_key(path)
    assert (key == winner) is raced
    assert (message is None) is raced
    assert read_or_make_key(path) == (key, None)
    assert [found.name for found in path.parent.iterdir()] == ["cache.key"]
