"""The parts of batch jobs that need no server: parcels, lines of results, pauses, owners, the file."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.batches.body import BatchBody, row_bytes
from claude_force_nb.batches.outcome import read_outcome
from claude_force_nb.batches.owner import Owner, is_alive
from claude_force_nb.batches.polling import Pace, Pause
from claude_force_nb.batches.store import Job, JobStore
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.errors import InvalidRequestError, JobError, OptionError, OverloadedError
from claude_force_nb.messages.request import ClaudeRequest

JOB = Job("abc123", 1.0, "notebook", None, None, "claude-haiku-5-5", "https://api.anthropic.com", True)


def request(prompt: str) -> ClaudeRequest:
    message = {"role": "user", "content": prompt}
    return ClaudeRequest({"model": "claude-haiku-5-5", "max_tokens": 10, "messages": [message]})


@given(st.lists(st.text(), max_size=20), st.integers(300, 2000), st.integers(1, 6))
def test_parcels_hold_every_row_once_within_their_bounds(texts: List[str], most_bytes: int, most: int) -> None:
    """Whatever the rows: each body is valid JSON of the size that was counted, within the bounds, and together they are all."""
    parcels = [BatchBody("2023-06-01", (), most_requests=most, most_bytes=most_bytes)]
    wanted = []
    for text in dict.fromkeys(text for text in texts if text.isprintable()):
        row = row_bytes(request(text))
        try:
            parcels[-1].check(row)
        except OptionError:
            continue
        if not parcels[-1].fits(row):
            parcels.append(BatchBody("2023-06-01", (), most_requests=most, most_bytes=most_bytes))
        assert parcels[-1].fits(row)
        parcels[-1].add(bytes.fromhex(request(text).fingerprint), row, None)
        wanted.append(request(text).fingerprint)
    found = []
    for number, parcel in enumerate(parcels):
        if number % 2:
            parcel.spill()
        size = parcel.size_bytes
        body = parcel.body()
        assert len(body) == size <= most_bytes
        rows = json.loads(body)["requests"]
        assert len(rows) <= most
        for row in rows:
            assert row["params"] == request(row["params"]["messages"][0]["content"]).body
            found.append(row["custom_id"])
        parcel.clear()
    assert found == wanted


@given(st.sets(st.integers(0, 9)))
def test_a_split_parcel_is_two_that_are_counted_right(taken: Any) -> None:
    """What is taken out and what stays are together what was there."""
    parcel = BatchBody("2023-06-01", ())
    prints = [bytes.fromhex(request(str(number)).fingerprint) for number in range(10)]
    for number, fingerprint in enumerate(prints):
        parcel.add(fingerprint, row_bytes(request(str(number))), Decimal(number))
    other = parcel.split([prints[number] for number in taken])
    for part, numbers in ((parcel, set(range(10)) - taken), (other, taken)):
        assert part.bounds == {prints[number]: Decimal(number) for number in numbers}
        size = part.size_bytes
        assert len(part.body()) == size


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"custom_id": 5, "result": {}}',
        b'{"custom_id": "x", "result": {"type": "expired"}}',
        b'{"custom_id": "' + b"A" * 64 + b'", "result": {}}',
        b'{"custom_id": "' + b"a" * 64 + b'"}',
    ],
)
def test_lines_that_are_none_of_ours(line: bytes) -> None:
    """Anything but an object with a fingerprint and a result is passed over."""
    assert read_outcome(line) is None


def outcome(result: Dict[str, Any]) -> Any:
    line = json.dumps({"custom_id": "ab" * 32, "result": result}).encode()
    found = read_outcome(line)
    assert found is not None
    day = datetime.date(2026, 11, 1)
    return found.to_result(agent="a", model="claude-haiku-5-5", prices=load_prices(), on=day, now=0.0)


@pytest.mark.parametrize("envelope", [True, False])
def test_errored_rows_have_the_error_that_a_direct_call_would_have(envelope: bool) -> None:
    """With the envelope of the API's error answers and without, and for types that nobody knows."""
    for kind, wanted in (("invalid_request_error", InvalidRequestError), ("overloaded_error", OverloadedError)):
        error: Dict[str, Any] = {"type": kind, "message": "because"}
        result = outcome({"type": "errored", "error": {"type": "error", "error": error} if envelope else error})
        assert (result.status, type(result.error)) == ("failed", wanted)
        assert "because" in str(result.error)
    for strange in (None, "text", [], {"error": None}, {"type": "new_error"}):
        assert outcome({"type": "errored", "error": strange}).status == "failed"
    assert outcome({"type": "something new"}).status == "failed"


def test_answers_are_priced_as_part_of_a_batch() -> None:
    """Whatever tier the message names; a result without a message fails its row."""
    message = {"id": "msg_1", "model": "claude-haiku-5-5", "content": [{"type": "text", "text": "yes"}]}
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "standard"}
    result = outcome({"type": "succeeded", "message": dict(message, usage=usage)})
    assert (result.status, result.text, result.request_id, result.agent) == ("ok", "yes", "msg_1", "a")
    assert result.cost == (1000 * Decimal("0.10") + 100 * Decimal("0.50")) / 10**6 / 2
    assert outcome({"type": "succeeded"}).status == "failed"


def test_pauses_grow_to_their_bound_and_obey_retry_after() -> None:
    """Each wait is between a tenth of its cap and the cap, and never shorter than was asked for."""
    for draw in (0.0, 0.999):
        pause = Pause(Pace(first_seconds=1.0, longest_seconds=60.0), draw=lambda draw=draw: draw)
        waits = [pause.seconds() for _ in range(10)]
        caps = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
        assert all(0.1 * cap <= wait <= cap for wait, cap in zip(waits, caps))
        assert 300 <= pause.seconds(300.0) <= 301


def test_another_kernel_is_looked_at_often() -> None:
    """A run that waits for another kernel's batch asks only this machine, and does not sleep long after the answers are there."""
    pause = Pause(Pace().nearby, draw=lambda: 1.0)
    assert [pause.seconds() for _ in range(4)] == [1.0, 2.0, 2.0, 2.0]
    assert Pace(longest_seconds=0.5).nearby.longest_seconds == 0.5


def test_an_owner_lives_as_long_as_its_process(tmp_path: Path) -> None:
    """Seen from inside and from outside, also when its process is killed."""
    owner = Owner(tmp_path / "owners")
    assert is_alive(tmp_path / "owners", owner.token)
    assert not is_alive(tmp_path / "owners", "0" * 32)
    code = (
        "import sys, time; from pathlib import Path; from claude_force_nb.batches.owner import Owner, is_alive\n"
        "folder = Path(sys.argv[1]); mine = Owner(folder)\n"
        "print(mine.token, is_alive(folder, sys.argv[2]), flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parent.parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "owners"), owner.token],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])),
    )
    assert child.stdout is not None
    token, seen = child.stdout.readline().split()
    assert seen == "True"
    assert is_alive(tmp_path / "owners", token)
    child.kill()
    child.wait()
    child.stdout.close()
    assert not is_alive(tmp_path / "owners", token)
    owner.release()
    assert not is_alive(tmp_path / "owners", owner.token)
    assert list((tmp_path / "owners").iterdir()) == []


def test_the_file_is_private_and_holds_no_words(tmp_path: Path) -> None:
    """Mode 0600, and after a part is over not even its fingerprints."""
    store = JobStore(tmp_path / "data" / "jobs.db")
    prints = [bytes([number]) * 32 for number in range(3)]
    part, elsewhere = store.plan(JOB, prints, "owner", None)
    assert part is not None
    assert elsewhere == {}
    assert store.plan(JOB, prints, "other", None) == (None, dict.fromkeys(prints, part.number))
    assert stat.S_IMODE((tmp_path / "data" / "jobs.db").stat().st_mode) == 0o600
    assert store.claim(part.number, "other")  # nobody called "owner" lives
    store.drop(part.number)
    assert store.requests(part.number) == {}
    again, _ = store.plan(JOB, prints, "owner", None)
    assert again is not None
    store.forget(JOB.id)
    assert store.jobs() == []
    store.close()


def test_a_file_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    """Nothing is sent without the state on disk."""
    (tmp_path / "jobs.db").write_text("no database " * 100, encoding="utf-8")
    store = JobStore(tmp_path / "jobs.db")
    with pytest.raises(JobError, match="cannot be kept") as caught:
        store.plan(JOB, [b"x" * 32], "owner", None)
    assert "\n" not in str(caught.value)
    store.close()
