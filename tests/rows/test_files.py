"""Rows written to a file: each once, in order at the end, continued after any stop, and never all in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batches import quick_batches
from support.examples import examples

from claude_force_nb.errors import SourceError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.files import RowFile
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]


def lines(path: Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_row_is_a_line_in_order(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """Each line has the row's number, its columns, the answer and what it cost; the lines end up in the order of the rows."""
    path = tmp_path / "out.jsonl"
    rows = [{"text": f"t{number}", "n": float("nan"), "status": "mine"} for number in range(30)]
    simulator.fail("slow", contains="t3", delay_seconds=0.1)
    orchestrator = make()
    summary = run(orchestrator.run_stream(iter(rows), template="Label {{ text }}", into=path))
    assert summary.counts["ok"] == 30
    found = lines(path)
    assert [line["row"] for line in found] == list(range(30))
    assert found[3] == {
        "row": 3,
        "text": "t3",
        "n": None,
        "source_status": "mine",
        "answer": run(orchestrator.run("Label t3", cache="only")).text,
        "status": "ok",
        "stop_reason": "end_turn",
        "error": None,
        "cost": found[3]["cost"],
        "fingerprint": orchestrator.request("Label t3").fingerprint,
        "signature": found[3]["signature"],
    }
    assert found[3]["cost"] > 0
    assert len(found[3]["signature"]) == 32


def test_what_json_has_no_word_for(run: Any, make: Make, tmp_path: Path) -> None:
    """Arrays and numbers of numpy are written as such, and what stands for no value as null."""
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    path = tmp_path / "out.jsonl"
    columns = {"a": numpy.array([1.5, float("nan")]), "b": numpy.float32("nan"), "c": pandas.NaT, "d": pandas.NA}
    run(make().run_stream([{"text": "t", **columns, "e": numpy.int64(7)}], template="{{ text }}", into=path))
    assert "NaN" not in path.read_text(encoding="utf-8")
    row = lines(path)[0]
    assert [row[name] for name in "abcde"] == [[1.5, None], None, None, None, 7]


def test_parts_of_answers_replace_nothing(run: Any, make: Make, tmp_path: Path) -> None:
    """A part of an answer that is called as a column of the file has another name there, so that the file can be gone on with."""
    path = tmp_path / "out.jsonl"
    properties = {name: {"type": "string"} for name in ("row", "fingerprint", "status")}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    orchestrator = make(enable_cache=False)
    assert run(orchestrator.run_stream(["a", "b"], schema=schema, into=path)).counts["ok"] == 2
    assert [(line["row"], line["status"]) for line in lines(path)] == [(0, "ok"), (1, "ok")]
    parts = json.loads(lines(path)[1]["answer"])
    assert [lines(path)[1][name + "_2"] for name in properties] == [parts[name] for name in properties]
    assert run(orchestrator.run_stream(["a", "b"], schema=schema, into=path)).counts["cached"] == 2


def test_a_run_continues_where_the_file_ends(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """Answers in the file are not asked again, failed rows are; rows that moved take their answers along, others leave."""
    path = tmp_path / "out.jsonl"
    orchestrator = make(enable_cache=False)
    simulator.fail("invalid_request", contains="bad")
    first = run(orchestrator.run_stream(["a", "bad", "c", "gone"], into=path))
    assert first.counts == {"ok": 3, "cached": 0, "failed": 1, "not_sent": 0}
    answers = {line["item"]: line["answer"] for line in lines(path)}
    simulator.heal()
    calls = simulator.counters.calls
    second = run(orchestrator.run_stream(["new", "c", "bad", "a", "a"], into=path))
    assert second.counts == {"ok": 2, "cached": 3, "failed": 0, "not_sent": 0}
    assert simulator.counters.calls == calls + 2
    found = lines(path)
    assert [(line["row"], line["item"]) for line in found] == list(enumerate(["new", "c", "bad", "a", "a"]))
    assert [line["answer"] for line in found if line["item"] in "ac"] == [answers[name] for name in "caa"]
    assert all(line["status"] == "ok" for line in found)
    unchanged = path.read_bytes()
    run(orchestrator.run_stream(["new", "c", "bad", "a", "a"], into=path))
    assert path.read_bytes() == unchanged
    assert simulator.counters.calls == calls + 2


def test_rows_that_were_stopped_are_asked_again(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """The file says that they were stopped, and the next run goes on with it."""
    path = tmp_path / "out.jsonl"
    orchestrator = make(enable_cache=False, max_concurrent=1)
    simulator.fail("slow", delay_seconds=300, contains="never")

    async def stopped() -> None:
        rows = asyncio.ensure_future(orchestrator.run_stream(["a", "never", "c"], into=path))
        deadline = time.monotonic() + 30
        while not (simulator.counters.in_flight and simulator.counters.completed):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        orchestrator.stop_all()
        assert (await rows).counts == {"ok": 1, "cached": 0, "failed": 0, "not_sent": 1, "stopped": 1}

    run(stopped())
    assert [line["status"] for line in lines(path)] == ["ok", "stopped", "not_sent"]
    simulator.heal()
    again = run(orchestrator.run_stream(["a", "never", "c"], into=path))
    assert again.counts == {"ok": 2, "cached": 1, "failed": 0, "not_sent": 0}
    assert [line["status"] for line in lines(path)] == ["ok"] * 3


def test_a_torn_line_is_cut_off(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A line that a killed process had no time to end is asked again; everything before it stays."""
    path = tmp_path / "out.jsonl"
    orchestrator = make(enable_cache=False, max_concurrent=1)
    run(orchestrator.run_stream(["a", "b", "c"], into=path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    calls = simulator.counters.calls
    assert run(orchestrator.run_stream(["a", "b", "c"], into=path)).counts["cached"] == 2
    assert simulator.counters.calls == calls + 1
    assert [line["item"] for line in lines(path)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    ["text,n\n", '{"text": 1}\n', '{"text": 1}', "x", "[1]\n", '{"row": "x", "fingerprint": 5, "status": "ok"}\n'],
)
def test_a_file_of_somebody_else_is_left_alone(run: Any, make: Make, tmp_path: Path, text: str) -> None:
    """A file that no batch has written is refused with one line, and not changed."""
    path = tmp_path / "mine.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match="was not written by a batch"):
        run(make().run_stream(["a"], into=path))
    assert path.read_text(encoding="utf-8") == text
    with pytest.raises(SourceError, match="cannot be written"):
        run(make().run_stream(["a"], into=tmp_path / "no" / "folder.jsonl"))


def test_parquet(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A Parquet file has the same rows, is gone on with as well, and leaves nothing beside it."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    orchestrator = make(enable_cache=False)
    rows = [{"text": f"t{number}", "n": number} for number in range(5)]
    run(orchestrator.run_stream(rows, template="{{ text }}", into=path))
    table = parquet.read_table(str(path)).to_pydict()
    assert table["row"] == table["n"] == list(range(5))
    assert all(text.startswith("Simulated") for text in table["answer"])
    calls = simulator.counters.calls
    run(orchestrator.run_stream([*rows, {"text": "new", "n": 9}], template="{{ text }}", into=path))
    assert simulator.counters.calls == calls + 1
    assert parquet.read_table(str(path)).to_pydict()["answer"][:5] == table["answer"]
    assert [item.name for item in tmp_path.iterdir()] == ["out.parquet"]
    other = tmp_path / "other.parquet"
    other.write_bytes(b"no parquet at all")
    with pytest.raises(SourceError, match="was not written by a batch"):
        run(orchestrator.run_stream(rows, template="{{ text }}", into=other))
    parquet.write_table(pyarrow.table({"text": ["mine"]}), str(tmp_path / "third.parquet"))
    with pytest.raises(SourceError, match="was not written by a batch"):
        run(orchestrator.run_stream(rows, template="{{ text }}", into=tmp_path / "third.parquet"))
    assert [item.name for item in sorted(tmp_path.iterdir())] == ["other.parquet", "out.parquet", "third.parquet"]


def test_parquet_has_types_for_all_rows(run: Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that becomes broader or begins late, in any later part of the file, keeps its values; what cannot be is one line."""
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("claude_force_nb.rows.parquet._ROWS", 2)
    path = tmp_path / "out.parquet"
    orchestrator = make(enable_cache=False)
    rows: List[Dict[str, Any]] = [
        {"n": 1, "late": None, "parts": {"a": [1]}},
        {"n": 2, "late": None, "parts": None},
        {"n": 2.5, "late": 7, "parts": {"a": [0.5], "b": "x"}, "new": True, "empty": []},
    ]
    run(orchestrator.run_stream(rows, template="Say {{ n }}", into=path))
    table = parquet.read_table(str(path)).to_pydict()
    assert table["n"] == [1.0, 2.0, 2.5]
    assert table["late"] == [None, None, 7]
    assert table["parts"] == [{"a": [1.0], "b": None}, None, {"a": [0.5], "b": "x"}]
    assert table["new"] == [None, None, True]
    for wrong in ({"n": "text"}, {"n": 2**70}, {"n": {}}):
        other = tmp_path / "wrong.parquet"
        with pytest.raises(
            SourceError, match=r"these rows cannot be written as Parquet.*they are in .*part\.jsonl"
        ) as caught:
            run(orchestrator.run_stream([{"n": 1}, {"n": 2}, wrong], template="Say {{ n }}", into=other))
        assert "\n" not in str(caught.value)
        assert len(lines(tmp_path / "wrong.parquet.part.jsonl")) == 3
        assert not list(tmp_path.glob("*.tmp"))
        (tmp_path / "wrong.parquet.part.jsonl").unlink()


def test_one_run_writes_a_file(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """A second run into a file that is being written, or that the rows are read from, is refused with one line and sends nothing."""
    path = tmp_path / "out.jsonl"
    orchestrator = make(enable_cache=False)
    simulator.fail("slow", contains="first", delay_seconds=60)

    async def both() -> List[Any]:
        begun = asyncio.Event()
        first = orchestrator.run_stream(["first", "a"], into=path, on_result=lambda row, result: begun.set())
        one = asyncio.ensure_future(first)
        await begun.wait()
        with pytest.raises(SourceError, match="another run is writing to"):
            await orchestrator.run_stream(["first", "b"], into=path)
        simulator.heal()
        return [await one]

    assert run(both())[0].counts["ok"] == 2
    assert [line["item"] for line in lines(path)] == ["first", "a"]
    calls = simulator.counters.calls
    for into in (path, tmp_path / "." / "out.jsonl"):
        with pytest.raises(SourceError, match="is where the rows come from"):
            run(orchestrator.run_stream(path, template="{{ answer }}", into=into))
    assert simulator.counters.calls == calls
    assert len(lines(path)) == 2


@pytest.mark.parametrize("step", ["_remember", "_lines"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_long_file_does_not_block(
    run: Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, suffix: str
) -> None:
    """Reading a file and putting it into order leave the event loop free, and end when they are cancelled; nothing gets lost."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / ("out." + suffix)
    orchestrator = make(enable_cache=False)
    rows = [f"p{number}" for number in range(30)]
    run(orchestrator.run_stream(rows, into=path))
    begun = threading.Event()
    original = getattr(RowFile, step)

    def remember(self: RowFile, line: bytes, offset: int) -> None:
        begun.set()
        time.sleep(0.02)
        original(self, line, offset)

    def ordered(self: RowFile) -> Iterator[bytes]:
        for line in original(self):
            begun.set()
            time.sleep(0.02)
            yield line

    async def stopped() -> None:
        task = asyncio.ensure_future(orchestrator.run_stream(iter(reversed(rows)), into=path))
        while not begun.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with monkeypatch.context() as patch:
        patch.setattr(RowFile, step, remember if step == "_remember" else ordered)
        run(stopped())
    log = [path.name + ".part.jsonl"] if (step, suffix) == ("_lines", "parquet") else []
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, *log]
    assert run(orchestrator.run_stream(rows, into=path)).counts["cached"] == 30


def test_a_full_disk(tmp_path: Path) -> None:
    """Where the file takes no more the run ends with one line; what is in it is whole, and gone on with."""
    pytest.importorskip("resource")
    path = tmp_path / "out.jsonl"
    script = """
        import asyncio, resource, sys
        from claude_force_nb import AsyncAgentOrchestrator
        from claude_force_nb.errors import SourceError
        from claude_force_nb.testing import FakeTransport

        async def main():
            transport = FakeTransport(lambda request: "positive")
            async with AsyncAgentOrchestrator(transport=transport, enable_cache=False, ledger=None) as orchestrator:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
                try:
                    await orchestrator.run_stream(["p%d" % number for number in range(50)], into=sys.argv[1])
                except SourceError as error:
                    print(error)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    assert "cannot be written: " in said
    assert len(said.splitlines()) == 1
    assert 5 < len(lines(path)) < 20
    assert path.read_bytes().endswith(b"\n")


def test_rows_of_message_batches_go_to_a_file(run: Any, make: Make, simulator: Simulator, tmp_path: Path) -> None:
    """via=batches writes the same lines, and sends only what the file has no answer to."""
    path = tmp_path / "out.jsonl"
    orchestrator = quick_batches(make(enable_cache=False))
    run(orchestrator.run_stream(["a", "b"], model="haiku", into=path))
    summary = run(orchestrator.run_stream(["b", "c", "a"], model="haiku", into=path, via="batches"))
    assert summary.counts == {"ok": 1, "cached": 2, "failed": 0, "not_sent": 0}
    assert [(line["row"], line["item"]) for line in lines(path)] == [(0, "b"), (1, "c"), (2, "a")]
    assert all(line["answer"].startswith("Simulated") for line in lines(path))


def test_a_file_is_the_source_of_the_next_and_loses_no_column(run: Any, make: Make, tmp_path: Path) -> None:
    """Four runs in a row: the last file has the answers of all, and both of two columns that want one name."""
    orchestrator = make()
    source: Any = [{"text": "tea", "answer": "mine", "source_answer": "yours", 1: "one", "1": "uno"}]
    answers = ["mine", "yours", "one", "uno"]
    for number in range(4):
        path = tmp_path / f"{number}.jsonl"
        run(orchestrator.run_stream(source, model="haiku", template=f"step {number} {{{{ text }}}}", into=path))
        (line,) = lines(path)
        answers.append(line["answer"])
        assert set(answers) <= {value for value in line.values() if isinstance(value, str)}
        source = path
    assert len(set(answers)) == 8


def test_parquet_without_pyarrow(run: Any, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow a Parquet file is one line that says what to do, before anything is sent."""
    monkeypatch.setattr("claude_force_nb.rows.files.find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip install pyarrow; or write to a"):
        run(make().run_stream(["a"], into=tmp_path / "out.parquet"))
    assert not list(tmp_path.iterdir())


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    runs=st.lists(st.lists(st.sampled_from("abcdef"), max_size=6, unique=True), min_size=1, max_size=4),
    seed=st.integers(0, 10**9),
)
def test_any_runs_leave_the_rows_of_the_last_one(
    make: Make, simulator: Simulator, tmp_path: Path, runs: List[List[str]], seed: int
) -> None:
    """Whatever was run before, the file has the rows of the last source in order, and no answer was paid for twice."""
    path = tmp_path / f"{uuid.uuid4()}.jsonl"
    orchestrator = make(enable_cache=False, max_concurrent=3)
    calls = simulator.counters.calls

    async def all_of_them() -> None:
        for prompts in runs:
            await orchestrator.run_stream([f"{seed} {name}" for name in prompts], into=path)

    asyncio.run(all_of_them())
    assert [line["item"] for line in lines(path)] == [f"{seed} {name}" for name in runs[-1]]
    # What a later run has no rows for leaves the file, and would be paid for again.
    left: Any = set()
    most = 0
    for prompts in runs:
        most += len(set(prompts) - left)
        left = set(prompts)
    assert simulator.counters.calls - calls == most


@pytest.mark.slow
def test_a_killed_process_has_lost_nothing(simulator: Simulator, tmp_path: Path, run: Any, make: Make) -> None:
    """After kill -9 every row that was reported stands in the file, and another run asks for the others alone."""
    path = tmp_path / "out.jsonl"
    simulator.fail([None] * 25 + ["hang"] * 50)
    script = """
        import asyncio, sys
        from claude_force_nb import AsyncAgentOrchestrator
        orchestrator = AsyncAgentOrchestrator(base_url=sys.argv[1], api_key="k", max_concurrent=4, enable_cache=False)
        asyncio.run(orchestrator.run_stream(["k%d" % number for number in range(60)], into=sys.argv[2]))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), simulator.url, str(path)])
    while simulator.counters.calls < 29 or not path.exists() or len(path.read_bytes().splitlines()) < 25:
        time.sleep(0.02)
    process.kill()
    process.wait()
    simulator.heal()
    summary = run(make(enable_cache=False).run_stream([f"k{number}" for number in range(60)], into=path))
    assert summary.counts == {"ok": 35, "cached": 25, "failed": 0, "not_sent": 0}
    assert [line["item"] for line in lines(path)] == [f"k{number}" for number in range(60)]


@pytest.mark.slow
def test_a_long_source_needs_little_memory(tmp_path: Path) -> None:
    """100,000 rows of a generator go to a file in one process with less than 50 MB more than ten rows need."""
    script = """
        import asyncio, resource, sys
        from claude_force_nb import AsyncAgentOrchestrator
        from claude_force_nb.testing import FakeTransport

        def rows(count):
            for number in range(count):
                yield {"text": "Review number %d. " % number + "It was good. " * 80}

        def answer(request):
            transport.requests.clear()  # the fake keeps all that was sent, and it is the rows that are measured
            return "positive " * 60

        transport = FakeTransport(answer)

        async def main():
            orchestrator = AsyncAgentOrchestrator(transport=transport, enable_cache=False, max_concurrent=50, ledger=None)
            async with orchestrator:
                await orchestrator.run_stream(rows(10), template="Label {{ text }}", into=sys.argv[1] + "/small.jsonl")
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                summary = await orchestrator.run_stream(
                    rows(100_000), template="Label {{ text }}", into=sys.argv[1] + "/big.jsonl"
                )
                assert len(summary) == summary.counts["ok"] == 100_000
                again = await orchestrator.run_stream(
                    rows(100_000), template="Label {{ text }}", into=sys.argv[1] + "/big.jsonl"
                )
                assert again.counts["cached"] == 100_000
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

        asyncio.run(main())
    """
    pytest.importorskip("resource")
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    kilobytes = int(done.stdout) // (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 50 * 1024, f"{kilobytes // 1024} MB more"
    assert (tmp_path / "big.jsonl").stat().st_size > 150e6


@pytest.mark.parametrize(
    "row", ["1e3", "-1", "99999999999999", "true", "[0]", "null", "[" * 100_000 + "]" * 100_000, "9" * 10_000]
)
def test_row_numbers_are_checked(run: Any, make: Make, simulator: Simulator, tmp_path: Path, row: str) -> None:
    """A file whose rows have numbers that no batch gives was not written by one: it is left alone, and costs no memory."""
    path = tmp_path / "out.jsonl"
    text = '{"row": ' + row + ', "fingerprint": "' + "ab" * 32 + '", "status": "ok"}\n'
    path.write_text(text)
    with pytest.raises(SourceError, match="was not written by a batch"):
        run(make().run_stream(["a"], into=path))
    assert path.read_text() == text
    assert not simulator.requests


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own on Windows")
def test_links(run: Any, make: Make, tmp_path: Path) -> None:
    """The user's own link to a file is followed; one that leads to no file, and one in place of the lines of a Parquet file, are not."""
    pytest.importorskip("pyarrow")
    (tmp_path / "real.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    orchestrator = make()
    run(orchestrator.run_stream(["a"], into=tmp_path / "link.jsonl"))
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(lines(tmp_path / "real.jsonl")) == 1
    (tmp_path / "nowhere.jsonl").symlink_to("made-elsewhere.jsonl")
    (tmp_path / "private.txt").write_text("keep")
    (tmp_path / "out.parquet.part.jsonl").symlink_to("private.txt")
    for name in ("nowhere.jsonl", "out.parquet"):
        with pytest.raises(SourceError, match="cannot be written"):
            run(orchestrator.run_stream(["a"], into=tmp_path / name))
    assert not (tmp_path / "made-elsewhere.jsonl").exists()
    assert (tmp_path / "private.txt").read_text() == "keep"


def test_no_character_ends_a_line(run: Any, make: Make, tmp_path: Path) -> None:
    """U+2028 and its like, and half a surrogate pair, leave a line whole for every reader."""
    path = tmp_path / "out.jsonl"
    text = "one\u2028two\u2029three\x85four\x0bfive\ud83d"
    run(make().run_stream([{"text": text}], template="{{ text }}", into=path))
    rows = path.read_bytes().decode("utf-8").splitlines()
    assert [json.loads(row)["text"] for row in rows] == [text.replace("\ud83d", "\ufffd")]
