"""Entries in memory: what was verified, within its bound."""

from __future__ import annotations

import json

import pytest
from support.cache_tools import SECRET, answer, fingerprint

from claude_force_nb.cache import entries
from claude_force_nb.cache.entries import Entry, Verified, answer_of, encode, read
from claude_force_nb.cache.signing import KeyRing


def test_the_least_recently_verified_goes_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry counts for its value, as bytes and decoded, and for what goes with it; the last one stays, however large."""
    verified = Verified()
    size = 2 * 1000 + entries._OVERHEAD_BYTES
    monkeypatch.setattr(entries, "VERIFIED_BYTES", 3 * size)
    each = Entry(b"x" * 1000, {}, 0.0, 1.0)
    for name in "abc":
        verified.remember(name, each)
    assert (list(verified), verified.size_bytes) == (["a", "b", "c"], 3 * size)
    verified.remember("a", each)
    assert (list(verified), verified.size_bytes) == (["b", "c", "a"], 3 * size)
    verified.remember("d", each)
    assert (list(verified), verified.size_bytes) == (["c", "a", "d"], 3 * size)
    verified.forget("a")
    verified.forget("a")
    assert (list(verified), verified.size_bytes) == (["c", "d"], 2 * size)
    verified.remember("large", each._replace(value=b"x" * 100_000))
    assert (list(verified), verified.size_bytes) == (["large"], 200_000 + entries._OVERHEAD_BYTES)
    verified.remember("c", each)
    assert (list(verified), verified.size_bytes) == (["c"], size)
    verified.forget_all()
    assert (len(verified), verified.size_bytes) == (0, 0)


def test_an_entry_is_kept_when_it_is_read_for_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read once, as by a notebook that runs again, costs no memory; kept or not, a changed value is checked anew."""
    ring = KeyRing([SECRET.encode()])

    def value(number: int, text: str) -> bytes:
        raw = bytes.fromhex(fingerprint(number))
        return ring.sign(encode(answer(text)), fingerprint=raw, created=1000, expires=2000)

    verified = Verified()

    def text_of(number: int, value: bytes) -> str:
        found = verified.entry(ring, fingerprint(number), value, None)
        return found if isinstance(found, str) else found.fields["text"]

    first, second = value(1, "first"), value(1, "second")
    assert text_of(1, first) == "first"
    assert (list(verified), verified.size_bytes) == ([], 0)
    assert text_of(1, first) == "first"
    assert list(verified) == [fingerprint(1)]
    kept = verified[fingerprint(1)]
    assert verified.entry(ring, fingerprint(1), first, None) is kept
    assert text_of(1, second) == "second"
    assert verified[fingerprint(1)].value == second
    assert text_of(1, second[:-1] + b"x") == "corrupt"

    monkeypatch.setattr(entries, "_MOST_READ_ONCE", 3)
    for number in range(2, 12):
        assert text_of(number, value(number, "x")) == "x"
        assert len(verified._read_once) <= 3


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_hold_is_not_kept(number: float) -> None:
    """Another reader of JSON would refuse it, or take it for something else."""
    assert encode(answer(parsed={"x": 1.5}))
    with pytest.raises(ValueError, match="JSON"):
        encode(answer(call_seconds=number))


@pytest.mark.parametrize("where", ["record", "usage"])
def test_a_record_of_another_version_is_refused(where: str) -> None:
    """Signed by us, and with a field that this version does not know, in the answer or in its usage alone."""
    ring = KeyRing([SECRET.encode()])
    record = json.loads(encode(answer()))
    key = fingerprint(1)

    def decoded() -> Entry:
        body = json.dumps(record).encode()
        return read(ring, key, ring.sign(body, fingerprint=bytes.fromhex(key), created=1000, expires=2000), None)

    assert answer_of(decoded(), 1.5).text == answer().text
    (record if where == "record" else record["usage"])["of_another_version"] = 1
    with pytest.raises(TypeError, match="another version"):
        decoded()
