"""``claude-force-nb replay notebook.ipynb [--answers FILE] [--check] [--output FILE]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import List

from claude_force_nb.answers import AnswerFile
from claude_force_nb.errors import AnswerFileError, ConfigurationError
from claude_force_nb.storage.regular_file import own_target, replace_file

from .comparing import changed_cells, failed_cells, missed_cells
from .running import Replayed, run_frozen
from .saved import read_notebook

__all__ = ["add_arguments", "answers_beside", "run"]

_MOST_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.description = (
        "Run a notebook from its answer file, in a fresh kernel without key and network. Exit status: 0 if every answer was there"
        " (and with --check, if nothing changed), 1 if not, 2 if it could not be run."
    )
    parser.add_argument("notebook", type=Path, help="notebook to run")
    parser.add_argument("--answers", type=Path, help="answer file (default: NAME.answers.jsonl beside NAME.ipynb)")
    parser.add_argument("--check", action="store_true", help="compare what the cells show with what was saved")
    parser.add_argument("--output", type=Path, help="write the notebook as it ran to this file")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="time limit of each cell (default: %(default)s)"
    )


def answers_beside(notebook: Path) -> Path:
    """Return where the answer file of a notebook lies by convention."""
    return notebook.with_name(notebook.stem + ".answers.jsonl")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    try:
        saved = read_notebook(str(arguments.notebook))
        answers = AnswerFile(arguments.answers or answers_beside(arguments.notebook))
        if not answers.exists():
            raise AnswerFileError(f"answer file {answers.path} not found; record one: %claude_answers record")
        answers.load()
        replayed = run_frozen(
            arguments.notebook, answers, environ=os.environ, timeout_seconds=max(arguments.timeout, 0.001)
        )
        if arguments.output is not None:
            _write(replayed, arguments.output)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    again = replayed.notebook
    missed, failed = missed_cells(again), failed_cells(saved, again)
    problems = [f"cell {number} has no answer: {line}" for number, line in missed.items()]
    if replayed.missed > len(missed):
        problems.append(f"{replayed.missed - len(missed)} questions in batches or loops have no answer")
    problems += [f"cell {number} failed: {line}" for number, line in failed.items()]
    if arguments.check:
        changed = [number for number in changed_cells(saved, again) if number not in missed and number not in failed]
        problems += [f"cell {number} shows something other than what was saved" for number in changed]
        problems += [f"{answers.name}: {fault}" for fault in answers.faults if not fault.harmless]
        problems += _stale(answers)
    for problem in problems[:_MOST_NAMED]:
        print(problem)
    if len(problems) > _MOST_NAMED:
        print(f"and {len(problems) - _MOST_NAMED} more")
    print(_summary(replayed, answers, len(problems)))
    return 1 if problems else 0


def _stale(answers: AnswerFile) -> List[str]:
    """Return the lines whose question is not the one that their fingerprint stands for: nothing will ever ask for them."""
    lines = (answers.line(fingerprint) for fingerprint in answers.fingerprints())
    return [
        f"{answers.name}: line {line.number} is stale: its question does not match its fingerprint"
        for line in lines
        if line is not None and not line.asks_what_it_says()
    ]


def _summary(replayed: Replayed, answers: AnswerFile, problems: int) -> str:
    parts = [f"{len(answers):,} answers in {answers.name}"]
    if replayed.unused:
        parts.append(f"{len(replayed.unused):,} never used")
    if answers.unsigned:
        parts.append(f"{answers.unsigned:,} not signed by you")
    parts.append(f"{problems} problems" if problems else "ok")
    return " · ".join(parts)


def _write(replayed: Replayed, path: Path) -> None:
    import nbformat

    text = nbformat.writes(replayed.notebook)  # type: ignore[no-untyped-call]
    try:
        with replace_file(own_target(path)) as file:
            file.write(text if text.endswith("\n") else text + "\n")
    except OSError as error:
        raise AnswerFileError(f"{path} cannot be written: {error.strerror or error}") from None
