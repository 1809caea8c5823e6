"""%%claude_compare in a real kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.live_kernel import LiveKernel, kernel_environment, one_line, only_answer

from claude_force_nb.simulator import Simulator


@pytest.mark.slow
def test_models_agents_and_samples_side_by_side(tmp_path: Path) -> None:
    """One row for each, the same answers again for nothing, words that differ marked, and all of it as a frame."""
    with Simulator() as server, LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb\n%claude_answers record x.answers.jsonl")
        code = "%%claude_compare models=haiku,sonnet agents=reviewer,tester samples=2 into=grid\nWhat is {{ 1 + 1 }}?"
        shown = only_answer(kernel.run(code))
        lines = shown["text/plain"].splitlines()
        assert [line.split("  ")[0] for line in lines[1:9]] == [
            f"{agent} · {model}{sample}"
            for model in ("haiku", "sonnet")
            for agent in ("reviewer", "tester")
            for sample in ("", " · sample 2")
        ]
        assert server.counters.completed == 8
        assert "<b>" in shown["text/html"]
        assert "What is 2?" in shown["text/plain"]
        first = json.loads(kernel.value("grid.to_frame().to_json()").strip("'").replace("\\\\", "\\"))
        assert list(first)[:4] == ["model", "agent", "sample", "answer"]
        assert first["similarity"]["0"] == 1.0
        assert all(0 < value <= 1 for value in first["similarity"].values())
        again = only_answer(kernel.run(code))["text/plain"]
        assert server.counters.completed == 8
        assert again == shown["text/plain"]
        assert kernel.value("len(grid)") == "8"
    assert len((tmp_path / "x.answers.jsonl").read_bytes().splitlines()) == 9


@pytest.mark.slow
def test_what_is_wrong_is_one_line_and_what_fails_is_shown(tmp_path: Path) -> None:
    """Nothing is sent where a name is wrong; one call that fails costs its own column only."""
    with Simulator() as server, LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb\n%claude_config max_retries=0")
        for line, said in {
            "models=haiku,hiku": "hiku",
            "models=haiku,,sonnet": "names must be separated by commas",
            "models=haiku samples=101": "a comparison has 1 to 100 answers, not 101",
            "agents=nobody": "nobody",
            "modles=haiku": "did you mean 'models'?",
        }.items():
            assert said in one_line(kernel.run(f"%%claude_compare {line}\nHello")), line
        assert "the prompt is empty" in one_line(kernel.run("%claude_compare models=haiku"))
        assert server.counters.calls == 0
        server.fail("server_error", times=1)
        shown = only_answer(kernel.run("%%claude_compare models=haiku samples=2\nHello"))["text/plain"]
        assert shown.count("failed: ") == 1
        assert "ok" in shown


@pytest.mark.slow
def test_a_source_of_rows_gives_columns_that_are_recorded(tmp_path: Path) -> None:
    """What each column took and how far they agree; again and frozen the same for nothing; a budget is one for the cell."""
    reviews = "reviews = [{'text': f'review {number % 4}'} for number in range(6)]"
    code = "%%claude_compare reviews models=haiku,sonnet samples=2 into=grid\nWhat is {{ text }}?"
    with Simulator() as server, LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run(f"%load_ext claude_force_nb\n%claude_answers record x.answers.jsonl\n{reviews}")
        shown = only_answer(kernel.run(code))["text/plain"]
        assert [line.split("  ")[0] for line in shown.splitlines()[1:5]] == [
            "haiku",
            "haiku · sample 2",
            "sonnet",
            "sonnet · sample 2",
        ]
        assert "6 of 6 rows differ" in shown
        assert server.counters.completed == 16
        assert kernel.value("list(grid.to_frame())") == (
            "['text', 'haiku', 'haiku · sample 2', 'sonnet', 'sonnet · sample 2', 'agree']"
        )
        assert (
            kernel.value("grid.agreement(0, 0).share, grid.agreement(0, 2).share, len(grid.batches[3])") == "1.0 0.0 6"
        )
        assert only_answer(kernel.run(code))["text/plain"] == shown
        batches = only_answer(kernel.run("%claude_compare ['Red?', 'Blue?'] models=haiku,sonnet via=batches"))
        assert "2 of 2 rows differ" in batches["text/plain"]
        assert server.counters.completed == 20
        tight = only_answer(kernel.run("%%claude_compare reviews models=haiku,opus budget=0.00001\nDear {{ text }}"))
        assert tight["text/plain"].count("6 without a complete answer, the first: BudgetExceededError") == 2
        for line, said in {
            "reviews models=haiku,hiku": "hiku",
            "reviews agents=reviewer,nobody": "nobody",
            "reviewz models=haiku": "did you mean 'reviews'?",
            "iter(reviews) models=haiku": "can be read only once; compare a list of it instead",
            "[] models=haiku": "is empty; nothing was sent",
            "limit=3 models=haiku": "limit= is for rows",
            "reviews into=x.jsonl": "into= of a comparison is a variable",
            "reviews --raw": "--raw is for a prompt without rows",
        }.items():
            assert said in one_line(kernel.run(f"%%claude_compare {line}\nHello {{{{ text }}}}")), line
        assert server.counters.completed == 20
    assert len((tmp_path / "x.answers.jsonl").read_bytes().splitlines()) == 21
    environment = {**kernel_environment(server.url, tmp_path / "elsewhere"), "CLAUDE_FORCE_ANSWERS_MODE": "frozen"}
    environment["CLAUDE_FORCE_ANSWERS"] = str(tmp_path / "x.answers.jsonl")
    with LiveKernel(environment, str(tmp_path)) as kernel:
        kernel.run(f"%load_ext claude_force_nb\n{reviews}")
        assert only_answer(kernel.run(code))["text/plain"] == shown
