"""The benchmarks run, with the smallest sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "CLAUDE_FORCE_FIGURES": str(folder / "figures.jsonl"), "TMPDIR": str(folder)}
    command: List[str] = [sys.executable, str(FOLDER / arguments[0]), *arguments[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("script", [SCRIPTS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SCRIPTS[1:])])
def test_each_says_what_it_measures(script: str, tmp_path: Path) -> None:
    """Each benchmark prints its description without measuring anything."""
    assert "usage:" in run(tmp_path, script, "--help")
    assert not (tmp_path / "figures.jsonl").exists()


@pytest.mark.slow
def test_growth_notes_each_figure(tmp_path: Path) -> None:
    """Of caches and of runs, with the smallest size beside the largest."""
    run(tmp_path, "growth.py", "--largest", "10000", "--rows", "1000")
    lines = (tmp_path / "figures.jsonl").read_text(encoding="utf-8").splitlines()
    figures = {figure["name"]: figure for figure in map(json.loads, lines)}
    assert list(figures) == [
        "a cached row of 1,000",
        "a row of 1,000 beside one of 1,000",
        "a verified get, read once, from a cache of 10,000 entries",
        "a put into a cache of 10,000 entries",
        "a put that evicts, into a cache of 10,000 entries",
        "open a cache of 10,000 entries and read one",
    ]
    assert all(figure["value"] > 0 for figure in figures.values())
    assert "with 1,000" in figures["a put into a cache of 10,000 entries"]["limit"]
