"""The notebooks run from top to bottom, are free the second time, and lie in git without outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest
from support.live_kernel import LiveKernel, kernel_environment

from claude_force_nb.simulator import Simulator

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Packages beside those of the quick tests, by notebook.
NEEDS = {"labelling.ipynb": ["pandas", "sklearn"], "extraction.ipynb": ["matplotlib"]}


def cells_of(path: Path) -> List[Dict[str, Any]]:
    cells: List[Dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def run_notebook(path: Path, environment: Dict[str, str]) -> None:
    """Run the cells in a new kernel, as *Restart and Run All* does; only a cell with the tag ``raises-exception`` fails."""
    with LiveKernel(environment, str(path.parent)) as kernel:
        for cell in cells_of(path):
            if cell["cell_type"] != "code":
                continue
            done = kernel.run("".join(cell["source"]))
            expected = "error" if "raises-exception" in cell["metadata"].get("tags", ()) else "ok"
            assert done.status == expected, (path.name, cell["id"], done.traceback)
            assert len(done.traceback) <= 1, (path.name, cell["id"])
            # Models think before they answer: a small max_tokens can be used up by then.
            assert "cut off" not in done.text, (path.name, cell["id"], done.text)


def test_there_is_a_notebook_for_each_subject() -> None:
    """A list that the glob finds nothing for would test nothing."""
    names = {path.stem for path in NOTEBOOKS}
    assert {"quickstart", "labelling", "costs", "agents", "extraction", "replay", "compare"} <= names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_lies_in_git_without_outputs(path: Path) -> None:
    """Neither outputs nor numbers, times or versions of whoever ran it last; each cell has an id of its own."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}, cell["id"]
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_the_second_time_it_asks_nothing(path: Path, simulator: Simulator, tmp_path: Path) -> None:
    """Run twice, in a new kernel each time, in a folder with nothing else: the server sees no call of the second run."""
    for package in NEEDS.get(path.name, ()):
        pytest.importorskip(package)
    copy = tmp_path / "notebooks" / path.name
    copy.parent.mkdir()
    shutil.copyfile(str(path), str(copy))
    environment = kernel_environment(simulator.url, tmp_path)
    run_notebook(copy, environment)
    first = simulator.counters
    assert first.calls > 0
    assert first.by_status == {200: first.calls}
    run_notebook(copy, environment)
    assert simulator.counters.calls == first.calls, (first.by_endpoint, simulator.counters.by_endpoint)
