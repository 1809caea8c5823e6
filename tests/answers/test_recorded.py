"""An orchestrator with an answer file: what it records, what it asks, and that frozen it needs nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest

from claude_force_nb.answers import AnswerFile, asking_from
from claude_force_nb.errors import AnswerFileError, AnswerMissError, OptionError, SchemaError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator
from claude_force_nb.testing import FakeTransport

Make = Callable[..., AsyncAgentOrchestrator]
Run = Callable[[Any], Any]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def repaired(request: ClaudeRequest) -> str:
    """Answer wrong at first, and right when it is shown."""
    return '{"n": 1}' if len(request.body["messages"]) > 1 else '{"n": "one"}'


async def asked(orchestrator: AsyncAgentOrchestrator, *prompts: str, **options: Any) -> List[str]:
    async with orchestrator:
        return [str(await orchestrator.run(prompt, **options)) for prompt in prompts]


def test_file_then_cache_then_call(make: Make, run: Run, simulator: Simulator, tmp_path: Path) -> None:
    """An answer in the file is not looked up in the cache; an answer in neither is asked for."""
    path = tmp_path / "x.answers.jsonl"
    texts = run(asked(make(answers=path, answers_mode="record"), "one", "two"))
    file = AnswerFile(path)
    assert len(file) == 2
    assert simulator.counters.calls == 2
    again = make(answers=path, cache_dir=tmp_path / "empty")
    assert run(asked(again, "one", "two", "three"))[:2] == texts
    assert simulator.counters.calls == 3
    assert again.cache is not None
    assert (again.cache.stats().hits, again.cache.stats().misses) == (0, 1)
    assert len(AnswerFile(path)) == 2, "use writes nothing"


def test_record_takes_what_the_cache_answers_and_what_it_does_not_keep(
    make: Make, run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    """Answers from the cache are recorded, also those of cache=off; refresh replaces the line."""
    path = tmp_path / "x.answers.jsonl"
    (cached,) = run(asked(make(), "cached"))
    run(asked(make(answers=path, answers_mode="record"), "cached"))
    run(asked(make(answers=path, answers_mode="record"), "not cached", cache="off"))
    assert (simulator.counters.calls, len(AnswerFile(path))) == (2, 2)
    before = path.read_bytes()
    run(asked(make(answers=path, answers_mode="record"), "cached", cache="refresh"))
    assert (simulator.counters.calls, len(AnswerFile(path))) == (3, 2)
    assert path.read_bytes() != before
    assert run(asked(make(answers=path, answers_mode="frozen"), "cached", "not cached", cache="refresh"))
    assert simulator.counters.calls == 3
    assert cached


def test_frozen_sends_nothing(run: Run, tmp_path: Path) -> None:
    """A miss names what differs; neither cache nor transport is asked, whatever the cell says of the cache."""
    path = tmp_path / "x.answers.jsonl"
    transport = FakeTransport(lambda request: "an answer")
    run(asked(AsyncAgentOrchestrator(transport=transport, answers=path, answers_mode="record"), "What is a monad?"))
    for cache in ("on", "off", "refresh", "only"):
        frozen = AsyncAgentOrchestrator(transport=transport, answers=path, answers_mode="frozen")
        assert run(asked(frozen, "What is a monad?", cache=cache)) == ["an answer"]
        frozen = AsyncAgentOrchestrator(transport=transport, answers=path, answers_mode="frozen")
        with pytest.raises(AnswerMissError, match='its prompt \\("functor" where the file has "monad"\\)'):
            run(asked(frozen, "What is a functor?", cache=cache))
    assert len(transport.requests) == 1


def test_a_repair_is_recorded_and_replayed(run: Run, tmp_path: Path) -> None:
    """Both answers of a schema that needed a repair are lines; frozen, the result is the same, repaired and all."""
    path = tmp_path / "x.answers.jsonl"

    async def ask(mode: str, transport: FakeTransport) -> Any:
        async with AsyncAgentOrchestrator(transport=transport, answers=path, answers_mode=mode) as orchestrator:
            return await orchestrator.run("a number", schema=SCHEMA)

    first = run(ask("record", FakeTransport(repaired)))
    assert len(AnswerFile(path)) == 2
    second = run(ask("frozen", FakeTransport(lambda request: 1 / 0)))
    for name in ("text", "parsed", "repaired", "usage", "model", "request_id", "fingerprint"):
        assert getattr(first, name) == getattr(second, name), name
    file = AnswerFile(path)
    lines = [file.line(fingerprint) for fingerprint in file.fingerprints()]
    data = path.read_bytes()
    last = max((line for line in lines if line is not None), key=lambda line: len(line.data))
    path.write_bytes(data.replace(last.data + b"\n", b""))
    with pytest.raises(SchemaError, match="asking again failed: AnswerMissError"):
        run(ask("frozen", FakeTransport(repaired)))


@pytest.mark.parametrize("via", ["api", "batches"])
def test_rows_are_recorded_with_their_prompts_and_replayed(
    make: Make, run: Run, simulator: Simulator, tmp_path: Path, via: str
) -> None:
    """Rows, also of message batches, are lines that say what was asked; frozen, they come back without a call."""
    path = tmp_path / "x.answers.jsonl"
    prompts = ["row 1", "row 2", "row 1", "row 3"]

    async def ask(mode: str, **options: Any) -> Any:
        async with make(answers=path, answers_mode=mode, **options) as orchestrator:
            return await orchestrator.run_many(prompts, via=via)

    first = run(ask("record"))
    assert [result.answered for result in first] == [True] * 4
    file = AnswerFile(path)
    assert len(file) == 3
    for fingerprint in file.fingerprints():
        line = file.line(fingerprint)
        assert line is not None
        assert line.asks_what_it_says()
        entry = file.entry(fingerprint)
        assert entry is not None
        assert entry.request is not None
    asked_before = simulator.counters.calls
    second = run(ask("frozen", api_key=None, enable_cache=False))
    assert [str(result) for result in second] == [str(result) for result in first]
    assert simulator.counters.calls == asked_before
    prompts.append("row 4")
    third = run(ask("frozen", enable_cache=False))
    assert [result.status for result in third] == ["cached"] * 4 + ["not_sent"]
    assert isinstance(third[4].error, AnswerMissError)
    assert str(third[4].error).startswith("x.answers.jsonl has no answer")
    with asking_from("cell [7]"):
        placed = run(ask("frozen", enable_cache=False))
    assert str(placed[4].error).startswith("cell [7]: x.answers.jsonl has no answer")
    assert repr(second) == repr(first) == "BatchResult(4 rows: 4 ok)", "shown as when they were made"
    assert (second.cost, second.counts["cached"]) == (0, 4), "and paid by nobody"
    frames = [batch.to_frame().to_csv() for batch in (first, second)]
    assert frames[0] == frames[1]


def test_no_file_and_no_mode(tmp_path: Path) -> None:
    """A missing file and a missing mode are reported when the orchestrator is created."""
    with pytest.raises(AnswerFileError, match=r"answer file .*x\.answers\.jsonl not found; record one"):
        AsyncAgentOrchestrator(answers=tmp_path / "x.answers.jsonl")
    with pytest.raises(OptionError, match="answers_mode must be one of"):
        AsyncAgentOrchestrator(answers=tmp_path / "x.answers.jsonl", answers_mode="play")
    for mode in ("frozen", "record"):
        with pytest.raises(OptionError, match=f"answers_mode={mode} needs an answer file; nothing was sent"):
            AsyncAgentOrchestrator(answers_mode=mode)


FROZEN = """
import asyncio, socket, sys

def refuse(*arguments, **more):
    raise AssertionError("a socket")

from claude_force_nb import AsyncAgentOrchestrator

async def main():
    socket.socket.connect = socket.getaddrinfo = refuse
    async with AsyncAgentOrchestrator(base_url=sys.argv[2], answers=sys.argv[1], answers_mode="frozen") as orchestrator:
        batch = await orchestrator.run_many(["one", "two"], via="batches")
        print(*batch, await orchestrator.run("one"), sep="|")
    print("anthropic" in sys.modules, "diskcache" in sys.modules, "aiohttp" in sys.modules)

asyncio.run(main())
"""


def test_frozen_imports_no_sdk_and_needs_no_key(make: Make, run: Run, simulator: Simulator, tmp_path: Path) -> None:
    """In another process, with another home and without key: the same answers, and neither the SDK nor the cache is imported."""
    path = tmp_path / "x.answers.jsonl"
    one, two = run(asked(make(answers=path, answers_mode="record"), "one", "two"))
    environment = {"HOME": str(tmp_path / "elsewhere"), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", FROZEN, str(path), simulator.url], env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{one}|{two}|{one}\nFalse False False\n", done.stderr
