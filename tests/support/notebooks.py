"""Notebooks that the replay tests record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import nbformat

CELLS = [
    "%load_ext claude_force_nb\n%claude_config model=haiku",
    "%claude_answers record review.answers.jsonl",
    "topic = 'monads'\nnumbers = {'a': [1, 2]}",
    "%%claude agent=reviewer into=review\nExplain {{ topic }} in one word; the numbers are {{ numbers }}.",
    "print(len(review.text))",
    "%%claude memory=talk\nRemember the number seven.",
    "%%claude memory=talk thinking=1024 max_tokens=4000\nWhich number was it?",
    "rows = ['red', 'green', 'red']",
    "batch = %claude_batch rows\n[result.text for result in batch]",
    "1 / 0",
]

RECORD = """
import sys
import nbclient, nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

class Manager(AsyncKernelManager):
    @property
    def kernel_spec(self):
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="t", language="python")

notebook = nbformat.read(sys.argv[1], as_version=4)
client = nbclient.NotebookClient(notebook, kernel_manager_class=Manager, kernel_name="python3", allow_errors=True,
                                 record_timing=False, timeout=120, resources={"metadata": {"path": "."}})
client.execute()
nbformat.write(notebook, sys.argv[1])
"""


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook that nobody has run."""
    made = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    for number, source in enumerate(cells):
        cell = nbformat.v4.new_code_cell(source, id=f"cell-{number}")  # type: ignore[no-untyped-call]
        made.cells.append(cell)
    nbformat.write(made, str(path))  # type: ignore[no-untyped-call]


def record(path: Path, url: str) -> None:
    """Run a notebook in a real kernel against a server, and save it."""
    environment = dict(os.environ, ANTHROPIC_API_KEY="sk-ant-test-key", ANTHROPIC_BASE_URL=url)
    command = [sys.executable, "-c", RECORD, path.name]
    done = subprocess.run(command, cwd=str(path.parent), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def command(
    *words: str, folder: Path, home: Path, python: str = sys.executable, more: Optional[Dict[str, str]] = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the package as somebody else: another home, no key, no secret, no server."""
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE_", "XDG_"))}
    environment = {**kept, "HOME": str(home), "USERPROFILE": str(home), **(more or {})}
    return subprocess.run(
        [python, "-m", "claude_force_nb", *words],
        cwd=str(folder),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def edit(path: Path, old: str, new: str) -> None:
    """Change a word in the code of a notebook, and leave its outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        found += old in source
        cell["source"] = source.replace(old, new)
    assert found
    path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")


def outputs(path: Path) -> List[Any]:
    """Return the outputs of the cells."""
    return [cell["outputs"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
