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
