"""A notebook run again from the cache is the same file: nothing to review, nothing to commit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from support.live_kernel import kernel_environment

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

CELLS = [
    "%load_ext claude_force_nb",
    "%%claude into=review\nReview this. It costs $5 and is $x^2$ long.",
    "labels = %claude_batch ['a pond', 'a pool'] model=haiku",
    "%claude_batch ['a pond', 'a lake'] model=haiku",
    "job = %claude_batch ['a pond', 'a pool'] model=haiku --background",
    "await job",
    "%claude live=off model=haiku Once more.",
    "%%claude --dry-run\nWhat is sent?",
    "print(review.text[:9])",
]


def test_the_saved_file_stays_the_same(tmp_path: Path) -> None:
    """Two runs from the cache in kernels of their own, as nbclient, nbconvert and papermill save them; nbdime finds nothing."""
    made: Any = nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS],  # type: ignore[no-untyped-call]
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    runs = []
    with Simulator() as server:
        for _ in range(3):
            book = copy.deepcopy(made)
            client = NotebookClient(
                book, record_timing=False, kernel_manager_class="support.live_kernel.ThisInterpreter"
            )
            client.execute(env=kernel_environment(server.url, tmp_path))
            runs.append(book)
        asked = server.counters.calls
    assert asked == 5  # the first run only
    _, second, third = runs
    for number, (one, other) in enumerate(zip(second.cells, third.cells)):
        assert one.outputs == other.outputs, number
    assert second == third
    assert [len(cell.outputs) for cell in third.cells] == [0, 1, 1, 1, 1, 1, 1, 1, 1]
    nbdime = pytest.importorskip("nbdime")
    assert nbdime.diff_notebooks(second, third) == []
