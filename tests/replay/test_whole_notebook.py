"""A notebook that uses everything, recorded once, run again as somebody else: the same in each cell, and no call."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import List

import pytest
from support.notebooks import command, outputs, record, write_notebook

from claude_force_nb.answers import AnswerFile
from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

IMAGE = """
import struct, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

pixels = zlib.compress(b"".join(b"\\0" + bytes([200, 30, 30]) * 8 for _ in range(8)))
with open("red.png", "wb") as out:
    out.write(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
              + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
"""
CELLS: List[str] = [
    "%load_ext claude_force_nb\n%claude_answers record whole.answers.jsonl",
    "%claude_config model=haiku",
    "import pandas as pd\nframe = pd.DataFrame({'city': ['Bern', 'Oslo'], 'people': [134, 709]})",
    "%%claude agent=summariser\nSummarise this table:\n\n{{ frame }}",
    "%%claude agent=reviewer into=first\nReview {{ frame.columns.tolist() }}.",
    "print(first.model, first.usage.output_tokens)",
    "%%claude_agent pirate\nYou are a pirate.",
    "%%claude agent=pirate\nSay hello to {{ frame.city[0] }}.",
    IMAGE,
    "from claude_force_nb import file\n",
    "%%claude\nWhat colour is this?\n\n{{ file('red.png') }}",
    "%%claude thinking=2048 max_tokens=8000\nThink about {{ len(frame) }} cities.",
    "from typing import TypedDict\nfrom dataclasses import dataclass\n\n@dataclass\nclass City:\n    name: str\n    people: int",
    "%%claude schema=City into=city\nInvent a city.",
    "print(type(city.parsed).__name__, city.repaired)",
    "%%claude memory=trip\nWe go to {{ frame.city[1] }}.",
    "%%claude memory=trip\nWhat do we take along?",
    "%%claude memory=trip\nAnd back?",
    "for number in range(3):\n    answer = %claude stream=off Count to {{ number }}.\n    print(answer)",
    "%%claude_compare models=haiku,sonnet agents=reviewer,pirate\nIs {{ frame.people[0] }} a lot?",
    "%%claude sample=2\nA random word.",
    "%%claude cache=off\nNever kept by the cache.",
    "%%claude cache=refresh\nAlways asked again.",
    "%%claude max_tokens=5\nA long story, please.",
    "%%claude stop=five\nCount to ten.",
    "rows = [f'Row {number % 400}' for number in range(500)]",
    "batch = %claude_batch rows",
    "print(len(batch), sum(map(len, map(str, batch))))",
    "%%claude_batch frame into=cities\nDescribe {{ city }}.",
    "cities.to_frame()[['city', 'answer']]",
    "first",
]


def test_everything_runs_again_elsewhere(tmp_path: Path) -> None:
    """Thirty cells and five hundred rows, with a repair: the check finds nothing, and the saved notebook is the same."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    write_notebook(here / "whole.ipynb", CELLS)
    with Simulator() as server:
        server.fail("wrong_json", times=1, contains="Invent a city")
        record(here / "whole.ipynb", server.url)
        assert server.counters.completed > 400
    saved = json.loads((here / "whole.ipynb").read_text("utf-8"))
    errors = [output for cell in outputs(here / "whole.ipynb") for output in cell if output["output_type"] == "error"]
    assert errors == []
    assert "City True" in json.dumps(saved), "the answer needed a repair"
    for name in ("whole.ipynb", "whole.answers.jsonl"):
        shutil.copy(here / name, there / name)
    done = command("replay", "whole.ipynb", "--check", "--output", "again.ipynb", folder=there, home=there / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "never used" not in done.stdout
    assert json.loads((there / "again.ipynb").read_text("utf-8")) == saved
    shown = [
        output
        for cell in outputs(there / "again.ipynb")
        for output in cell
        if "claude_force_nb" in str(output.get("metadata"))
    ]
    assert len(shown) >= 15
    audited = command("audit", "whole.ipynb", "--json", folder=there, home=there / "home")
    assert audited.returncode == 0, audited.stdout
    assert len(AnswerFile(there / "whole.answers.jsonl")) > 400
