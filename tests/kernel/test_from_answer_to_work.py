"""From an answer to the next cell, and from a failed cell to a question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import pytest
from support.live_kernel import LiveKernel, kernel_environment, one_line, only_answer

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKernel]:
    folder = tmp_path_factory.mktemp("kernel")
    with Simulator() as simulator, LiveKernel(kernel_environment(simulator.url, Path(folder)), str(folder)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        yield kernel


def dry(kernel: LiveKernel, prompt: str) -> str:
    """Return the request that a prompt would send."""
    return str(only_answer(kernel.run(f"%%claude --dry-run\n{prompt}"))["text/plain"])


def test_code_goes_into_the_next_cell_and_is_not_run(kernel: LiveKernel) -> None:
    """One cell with the Python of the answer; without code the receipt says so."""
    cell = kernel.run(
        "%%claude agent=tester as=code into=answer\nWrite a test for\n```python\ndef half(x):\n    return x / 2\n```"
    )
    (payload,) = [each for each in cell.payload if each["source"] == "set_next_input"]
    assert payload["replace"] is False
    assert payload["text"] == kernel.value("answer.code[0]")
    assert kernel.value("answer.code[0].language, 'test_half' in globals()") == "python False"
    cell = kernel.run("%claude as=code What is a monad?")
    assert not cell.payload
    assert only_answer(cell)["text/plain"].endswith("no code in the answer")
    assert "as must be one of code, not 'cod'; did you mean 'code'?" in one_line(kernel.run("%claude as=cod hello"))


def test_the_last_error_is_data_for_a_prompt(kernel: LiveKernel) -> None:
    """The cell and its traceback, fenced, the same from run to run; errors of ours do not take its place."""
    kernel.run("def half(text):\n    return text / 2\n\nhalf('a')")
    one_line(kernel.run("%claude modle=haiku hello"))
    sent = dry(kernel, "{{ last_error }}")
    assert '<data name="last_error">' in sent
    for part in ("def half(text):", 'File "<cell>", line 4', "TypeError: unsupported operand", "return text / 2"):
        assert part in sent
    assert "interactiveshell" not in sent
    assert "ipykernel" not in sent
    answer = only_answer(kernel.run("%claude_fix model=haiku into=fixed the text comes from a form"))["text/plain"]
    assert answer.splitlines()[-1].startswith("fixer · claude-haiku")
    assert kernel.value("fixed.agent") == "fixer"


def test_without_an_error_there_is_nothing_to_mend(tmp_path: Path) -> None:
    """One line says so, and nothing is sent."""
    with Simulator() as simulator, LiveKernel(kernel_environment(simulator.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        line = one_line(kernel.run("%claude_fix"))
        assert "no cell has failed since the extension was loaded; nothing was sent" in line
        assert simulator.counters.calls == 0
        kernel.run("last_error = 'mine'")
        assert "mine" in dry(kernel, "{{ last_error }}")


def test_the_last_cells_with_their_outputs(kernel: LiveKernel) -> None:
    """As many as asked for, without the cell that asks; what is long is cut, and that is said."""
    kernel.run("'first ' + 'value'")
    kernel.run("'x' * 5000")
    kernel.run("y = 3")
    sent = dry(kernel, "{{ history(3) }}")
    assert "'first ' + 'value'" in sent
    assert "'first value'" in sent
    assert "characters cut]" in sent
    assert "y = 3" in sent
    assert "history(3)" not in sent.split("<data", 1)[1].split("</data>")[0]
    assert "history() takes" in one_line(kernel.run("%%claude --dry-run\n{{ history(0) }}"))


def test_rows_of_a_batch_may_speak_of_the_notebook(tmp_path: Path) -> None:
    """The same for each row, whatever runs meanwhile; a column of that name goes before it, and without a warning."""
    with Simulator(latency_seconds=0.5) as simulator, LiveKernel(
        kernel_environment(simulator.url, tmp_path), str(tmp_path)
    ) as kernel:
        kernel.run("%load_ext claude_force_nb")
        kernel.run("1 / 0")
        template = "{{ text }} {{ last_error }} {{ history(9) }}"
        head = "%%claude_batch [{'text': 'a'}, {'text': 'b'}, {'text': 'c'}] model=haiku max_concurrent=1 into=rows --background"
        assert (
            kernel.run(f"run = get_ipython().run_cell_magic('claude_batch', {head[15:]!r}, {template!r})").status
            == "ok"
        )
        kernel.run("int('not a number')")
        assert kernel.run("await run").status == "ok"
        sent = [json.dumps(each.body["messages"]) for each in simulator.requests if "messages" in (each.body or {})]
        assert len(sent) == 3
        assert all("ZeroDivisionError" in each and "not a number" not in each for each in sent)
        assert all("%load_ext claude_force_nb" in each for each in sent)
        cell = kernel.run("%%claude_batch [{'history': 'a'}] --dry-run count=estimate\n{{ history }}")
        assert cell.status == "ok"
        assert not cell.stderr
        assert len(simulator.requests) == len(sent)
