"""Answers in a file are reused where this user has signed them, and otherwise only where the user says so."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.cache import RecordKeys
from claude_force_nb.errors import SourceError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.parquet import parquet_records, write_parquet
from claude_force_nb.rows.row_signatures import SIGNATURE, RowSignatures
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]
Change = Callable[[List[Dict[str, Any]]], None]


def read(path: Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, records: List[Dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


CHANGES: Dict[str, Change] = {
    "another answer": lambda rows: rows[1].update(answer="approve"),
    "another column": lambda rows: rows[1].update(item="a prompt that was never asked"),
    "a further column": lambda rows: rows[1].update(verdict="approve"),
    "no column": lambda rows: rows[1].pop("stop_reason"),
    "another row": lambda rows: rows[1].update(row=7),
    "another fingerprint": lambda rows: rows[1].update(fingerprint=rows[1]["fingerprint"][::-1]),
    "another cost": lambda rows: rows[1].update(cost=0.0),
    "another row's signature": lambda rows: rows[1].update(signature=rows[0][SIGNATURE]),
    "no signature": lambda rows: rows[1].pop(SIGNATURE),
    "null": lambda rows: rows[1].update(signature=None),
    "a number": lambda rows: rows[1].update(signature=7),
    "a list": lambda rows: rows[1].update(signature=[rows[1][SIGNATURE]]),
    "half of it": lambda rows: rows[1].update(signature=rows[1][SIGNATURE][:16]),
    "nothing": lambda rows: rows[1].update(signature=""),
    "letters without a code in ASCII": lambda rows: rows[1].update(signature="é" * 32),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_line_is_not_reused(run: Any, make: Make, simulator: Simulator, tmp_path: Path, change: str) -> None:
    """Whatever is changed in a line that has an answer: one line that names the row, nothing is sent, no byte of the file is lost."""
    path = tmp_path / "out.jsonl"
    orchestrator = make(enable_cache=False)
    run(orchestrator.run_stream(["a", "b", "c"], into=path))
    records = read(path)
    CHANGES[change](records)
    write(path, records)
    before, calls = path.read_bytes(), simulator.counters.calls
    with pytest.raises(SourceError, match=r"out\.jsonl has 1 answer without your signature, first in row \d") as caught:
        run(orchestrator.run_stream(["a", "b", "c"], into=path))
    assert "\n" not in str(caught.value)
    assert (path.read_bytes(), simulator.counters.calls) == (before, calls)


def test_a_file_of_somebody_else_can_be_trusted(
    run: Any, make: Make, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was written with another secret is used where the user says so; from then on it is the user's own."""
    path = tmp_path / "out.jsonl"
    run(make(cache_secret="the secret of a colleague", enable_cache=False).run_stream(["a", "b"], into=path))
    answers = [record["answer"] for record in read(path)]
    calls = simulator.counters.calls
    mine = make(enable_cache=False)
    with pytest.raises(SourceError, match="has 2 answers without your signature, first in row 0"):
        run(mine.run_stream(["b", "a"], into=path))
    assert run(mine.run_stream(["b", "a"], into=path, trust_file=True)).counts["cached"] == 2
    assert run(mine.run_stream(["b", "a"], into=path)).counts["cached"] == 2
    assert [record["answer"] for record in read(path)] == answers[::-1]
    assert simulator.counters.calls == calls
    # The secret it was written with before is as good while it is known.
    monkeypatch.setenv("CLAUDE_CACHE_SECRET_PREVIOUS", "the secret of a colleague")
    other = tmp_path / "other.jsonl"
    run(make(cache_secret="the secret of a colleague").run_stream(["a"], into=other))
    calls = simulator.counters.calls
    assert run(make(enable_cache=False).run_stream(["a"], into=other)).counts["cached"] == 1
    assert simulator.counters.calls == calls


def test_what_is_asked_again_needs_no_trust(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """``cache=refresh`` asks every row again, whoever wrote the file; the forged answer is gone then."""
    path = tmp_path / "out.jsonl"
    orchestrator = make()
    run(orchestrator.run_stream(["a"], into=path))
    records = read(path)
    records[0]["answer"] = "forged"
    write(path, records)
    assert run(orchestrator.run_stream(["a"], into=path, cache="refresh")).counts["ok"] == 1
    assert read(path)[0]["answer"] != "forged"
    assert run(orchestrator.run_stream(["a"], into=path)).counts["cached"] == 1


def test_a_forged_line_hides_no_answer(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A line that somebody has written behind the user's own answer is passed over, and leaves the file."""
    path = tmp_path / "out.jsonl"
    orchestrator = make(enable_cache=False)
    run(orchestrator.run_stream(["a", "b"], into=path))
    good = read(path)
    write(path, [*good, {**good[0], "answer": "forged"}, {**good[1], "row": 0, "answer": "forged"}])
    calls = simulator.counters.calls
    assert run(orchestrator.run_stream(["a", "b"], into=path)).counts["cached"] == 2
    assert simulator.counters.calls == calls
    assert [(record["row"], record["answer"]) for record in read(path)] == [
        (0, good[0]["answer"]),
        (1, good[1]["answer"]),
    ]


def test_parquet(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A Parquet file keeps its signatures; one answer changed in it is refused, and the file stays as it is."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    rows = [
        {"text": "a", "n": 1, "late": None},
        {"text": "b", "n": 2.5, "late": {"x": [1]}},
        {"text": "c", "extra": True},
    ]
    orchestrator = make(enable_cache=False)
    arguments: Dict[str, Any] = {"template": "Say {{ text }}", "into": path}
    run(orchestrator.run_stream(rows, **arguments))
    calls = simulator.counters.calls
    assert run(orchestrator.run_stream(rows, **arguments)).counts["cached"] == 3
    table = parquet.read_table(str(path)).to_pydict()
    table["answer"][1] = "forged"
    parquet.write_table(pyarrow.table(table), str(path))
    before = path.read_bytes()
    with pytest.raises(SourceError, match="has 1 answer without your signature, first in row 1"):
        run(orchestrator.run_stream(rows, **arguments))
    assert (path.read_bytes(), simulator.counters.calls) == (before, calls)
    assert [item.name for item in tmp_path.glob("out*")] == ["out.parquet"]
    assert run(orchestrator.run_stream(rows, trust_file=True, **arguments)).counts["cached"] == 3
    assert run(orchestrator.run_stream(rows, **arguments)).counts["cached"] == 3
    assert simulator.counters.calls == calls


def test_a_forged_repository(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """Answers that a repository brings under the name that its notebook writes to are not taken for answers."""
    path = tmp_path / "results.jsonl"
    orchestrator = make()
    fingerprint = orchestrator.request("Is the package safe?").fingerprint
    write(
        path, [{"row": 0, "answer": "Yes.", "status": "ok", "cost": 0, "fingerprint": fingerprint, SIGNATURE: "0" * 32}]
    )
    with pytest.raises(SourceError, match="somebody else wrote them"):
        run(orchestrator.run_stream(["Is the package safe?"], into=path))
    assert not simulator.requests


def test_without_a_secret(run: Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no secret can be had the rows are written all the same, unsigned, and that is said."""
    path = tmp_path / "out.jsonl"
    monkeypatch.delenv("CLAUDE_CACHE_SECRET")
    monkeypatch.setenv("CLAUDE_FORCE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "config").mkdir(parents=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(make(enable_cache=False).run_stream(["a"], into=path))
    assert any("made a random key" in str(each.message) for each in caught)
    assert len(read(path)[0][SIGNATURE]) == 32
    key = next((tmp_path / "home").rglob("cache.key"))
    key.write_text("no key")
    with pytest.warns(UserWarning, match="does not contain a key.*the rows of the file are not signed"):
        run(make(enable_cache=False).run_stream(["a"], into=tmp_path / "other.jsonl"))
    assert read(tmp_path / "other.jsonl")[0][SIGNATURE] is None


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
_COLUMNS = st.sampled_from(["number", "text", "flag", "list", "object"])
_VALUES = {
    "number": st.one_of(
        st.none(), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False)
    ),
    "text": st.one_of(st.none(), st.text(st.characters(blacklist_categories=("Cs",)))),
    "flag": st.one_of(st.none(), st.booleans()),
    "list": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-9, 9), st.floats(-1, 1)))),
    "object": st.one_of(
        st.none(), st.fixed_dictionaries({}, optional={"a": st.integers(-9, 9), "b": st.lists(st.text("xy"))})
    ),
}
ROWS = st.lists(st.fixed_dictionaries({}, optional=dict(_VALUES)), min_size=1, max_size=6)


@given(ROWS)
def test_a_signature_holds_through_parquet(rows: List[Dict[str, Any]]) -> None:
    """Columns that others have, another order and floating point numbers for whole ones do not void a signature."""
    pytest.importorskip("pyarrow")
    signatures = RowSignatures(RecordKeys([b"a secret of the test"]))
    records = [{"row": number, **row, "cost": 0.0} for number, row in enumerate(rows)]
    signed = [{**record, SIGNATURE: signatures.sign(record)} for record in records]
    file = io.BytesIO()
    write_parquet(file, lambda: signed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        path.write_bytes(file.getvalue())
        back = list(parquet_records(path))
    assert all(signatures.fits(record) for record in back)
    assert not any(signatures.fits({**record, "row": record["row"] + 1}) for record in back)


@given(st.dictionaries(st.text(), _LEAVES, max_size=5), st.text(), _LEAVES)
def test_every_value_is_signed(record: Dict[str, Any], name: str, value: Any) -> None:
    """A row with any other value is another row, and keys of another secret sign nothing of it."""
    record.pop(SIGNATURE, None)
    signatures = RowSignatures(RecordKeys([b"a secret of the test"]))
    signed = {**record, SIGNATURE: signatures.sign(record)}
    assert signatures.fits(signed)
    assert not RowSignatures(RecordKeys([b"another secret"])).fits(signed)
    assert not RowSignatures().fits(signed)
    if name != SIGNATURE and (
        value != record.get(name) or isinstance(value, bool) != isinstance(record.get(name), bool)
    ):
        assert not signatures.fits({**signed, name: value})
