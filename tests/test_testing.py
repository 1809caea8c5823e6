"""The tools with which users test their own code, used as they would use them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable

import pytest

from claude_force_nb import AsyncAgentOrchestrator
from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.errors import MalformedAnswerError, OverloadedError, TransportClosedError
from claude_force_nb.testing import FakeTransport, claude_fake  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent


def test_a_user_tests_a_function(claude_fake: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:  # noqa: F811
    """Code that asks Claude is tested with a function that answers, and sees what it sent."""

    async def label(orchestrator: AsyncAgentOrchestrator, text: str) -> str:
        result = await orchestrator.run("Label: {{ text }}", agent="labeller", variables={"text": text})
        return result.text

    orchestrator = claude_fake(lambda request: "negative" if "bad" in str(request.body["messages"]) else "positive")
    assert run(label(orchestrator, "what a bad film")) == "negative"
    assert run(label(orchestrator, "lovely")) == "positive"
    assert run(label(orchestrator, "lovely")) == "positive"
    sent = orchestrator.transport.requests  # type: ignore[attr-defined]
    assert [request.body["messages"][0]["content"] for request in sent] == ["Label: what a bad film", "Label: lovely"]
    assert sent[0].agent == "labeller"


def test_a_text_answers_everything(claude_fake: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:  # noqa: F811
    """The shortest fake is a text; usage and price are plausible, and a budget counts."""
    orchestrator = claude_fake("yes", budget="0.50")
    batch = run(orchestrator.run_many(["a", "b"], model="haiku"))
    assert batch.texts == ["yes", "yes"]
    assert isinstance(batch.cost, Decimal)
    assert 0 < batch.cost < Decimal("0.01")


def test_nothing_outside_the_tests_folder(
    claude_fake: Callable[..., AsyncAgentOrchestrator], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """Cache and ledger are in the test's folder, and the environment's secrets and places do not count."""
    home = Path.home()
    monkeypatch.setenv("CLAUDE_CACHE_DIR", str(home / "elsewhere"))
    monkeypatch.delenv("CLAUDE_CACHE_SECRET")
    before = sorted(home.rglob("*"))
    orchestrator = claude_fake("x")
    run(orchestrator.run("p"))
    assert run(orchestrator.run("p")).cached
    assert sorted(home.rglob("*")) == before
    assert {"claude-cache", "claude-data"} <= {path.name for path in tmp_path.iterdir()}


def test_handlers_may_wait_fail_and_build_messages(run: Any) -> None:
    """A handler may be asynchronous, raise the package's errors, and give any field of a message."""
    replies: Any = iter(
        [
            OverloadedError("busy", status=529, retry_after_seconds=0.0),
            {
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "42"}],
                "stop_reason": "max_tokens",
            },
            {"usage": {"input_tokens": 7, "output_tokens": 9}},
            None,
        ]
    )

    async def handler(request: Any) -> Any:
        await asyncio.sleep(0)
        reply = next(replies, {"content": "text"})
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def main() -> None:
        fake = FakeTransport(handler, base_url="http://fake")
        async with AsyncAgentOrchestrator(
            transport=fake, enable_cache=False, ledger=None, max_retries=1
        ) as orchestrator:
            partial = PartialAnswer()
            first = await orchestrator.run("1", partial=partial)
            assert (first.text, first.thinking, first.stop_reason, first.attempts) == ("42", "hm", "max_tokens", 2)
            assert (partial.text, partial.thinking) == ("42", "hm")
            second = await orchestrator.run("2")
            assert (second.text, second.usage.input_tokens, second.usage.output_tokens) == ("", 7, 9)
            with pytest.raises(TypeError, match="handler must return"):
                await orchestrator.run("3")
            with pytest.raises(MalformedAnswerError):
                await orchestrator.run("4")
        with pytest.raises(TransportClosedError):
            await fake.send(first, timeout_seconds=1)  # type: ignore[arg-type]

    run(main())


def test_importing_it_imports_no_pytest() -> None:
    """A script that uses FakeTransport outside of pytest does not import pytest."""
    code = "import sys, claude_force_nb.testing as t; print('pytest' in sys.modules, hasattr(t, 'claude_fake'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=str(ROOT), stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"False", b"False"]


@pytest.mark.slow
def test_as_a_plugin(tmp_path: Path) -> None:
    """``pytest_plugins`` in a user's conftest.py is all it takes."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["claude_force_nb.testing"]\n')
    (tmp_path / "test_mine.py").write_text(
        "import asyncio\n\n\ndef test_mine(claude_fake):\n"
        "    assert asyncio.run(claude_fake('hello').run('p')).text == 'hello'\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()


USES_ANSWERS = """
import asyncio
import pytest
from claude_force_nb.errors import AnswerMissError
from claude_force_nb.testing import FakeTransport


def test_mine(claude_answers):
    orchestrator = claude_answers()
    assert asyncio.run(orchestrator.run("What is a monad?")).text == "recorded"
    with pytest.raises(AnswerMissError, match="functor"):
        asyncio.run(orchestrator.run("What is a functor?"))
"""
RECORDS_ANSWERS = """
import asyncio
from claude_force_nb.testing import FakeTransport


def test_mine(claude_answers):
    orchestrator = claude_answers(transport=FakeTransport(lambda request: "recorded"))
    assert asyncio.run(orchestrator.run("What is a monad?")).text == "recorded"
"""


@pytest.mark.slow
def test_answers_of_a_test_are_recorded_and_then_frozen(tmp_path: Path) -> None:
    """Recorded where the environment says so, into the file beside the module; without it nothing else answers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "claude_force_nb.testing"]
    for source, more in ((RECORDS_ANSWERS, {"CLAUDE_FORCE_ANSWERS_MODE": "record"}), (USES_ANSWERS, {})):
        (tmp_path / "test_mine.py").write_text(source)
        done = subprocess.run(
            [*command, str(tmp_path)], cwd=str(tmp_path), env={**environment, **more}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
        assert (tmp_path / "test_mine.answers.jsonl").is_file()
