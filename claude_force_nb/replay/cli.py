"""``claude-force-nb replay notebook.ipynb [--answers FILE] [--check] [--output FILE]``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import List

from claude_force_nb.answers import AnswerFile
from claude_force_nb.errors import AnswerFileError
from claude_force_nb.storage.regular_file import own_target, replace_file
from claude_force_nb.vocabulary import counted

from .arguments import add_inputs, open_inputs, status_two_on_wrong_use
from .comparing import changed_cells, failed_cells, missed_cells
from .running import Replayed, run_frozen
from .saved import code_cells

__all__ = ["add_arguments", "run"]

_MOST_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.description = (
        "Run a notebook from its answer file, in a fresh kernel, without a key or a network. Exit status: 0 if every answer was there"
        " (and with --check, if nothing changed), 1 if not, 2 if it could not be run."
    )
    add_inputs(parser, notebook="notebook to run")
    parser.add_argument("--check", action="store_true", help="compare what the cells show with what was saved")
    parser.add_argument(
        "--output",
        type=Path,
        help="write the notebook as it ran to this file; cells that show the same stay as they were",
    )
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="SECONDS", help="time limit of each cell (default: %(default)s)"
    )


@status_two_on_wrong_use
def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    saved, answers = open_inputs(arguments, needs_answers=True)
    seconds = max(arguments.timeout, 0.001)
    replayed = run_frozen(arguments.notebook, answers, environ=os.environ, timeout_seconds=seconds)
    if arguments.output is not None:
        _write(replayed, arguments.output)
    again = replayed.notebook
    missed, failed = missed_cells(again), failed_cells(saved, again)
    problems = [f"cell {number} has no answer: {line}" for number, line in missed.items()]
    quiet = [line for line in replayed.misses if line not in missed.values()]
    problems += [f"in a batch or a loop, {line}" for line in quiet]
    uncounted = replayed.missed - len(missed) - len(quiet)
    if uncounted > 0:
        problems.append(f"{uncounted} more questions in batches or loops have no answer")
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
    """Return a message for each line whose fingerprint does not match its request, so that no request can find it."""
    lines = (answers.line(fingerprint) for fingerprint in answers.fingerprints())
    return [
        f"{answers.name}: line {line.number} is stale: its question does not match its fingerprint"
        for line in lines
        if line is not None and not line.asks_what_it_says()
    ]


def _summary(replayed: Replayed, answers: AnswerFile, problems: int) -> str:
    parts = [f"{counted(len(answers), 'answer')} in {answers.name}"]
    if replayed.unused:
        parts.append(f"{len(replayed.unused):,} never used")
    if answers.unsigned:
        parts.append(f"{answers.unsigned:,} not signed by you")
    parts.append(counted(problems, "problem") if problems else "ok")
    return " · ".join(parts)


def _write(replayed: Replayed, path: Path) -> None:
    """Write the replayed notebook; cells with the same output are written as saved, so that a diff shows only changes."""
    import nbformat

    changed = changed_cells(replayed.saved, replayed.notebook)
    cells = zip(code_cells(replayed.saved), code_cells(replayed.notebook))
    for number, (before, after) in enumerate(cells, 1):
        if number not in changed:
            after.update(
                outputs=before["outputs"], execution_count=before["execution_count"], metadata=before["metadata"]
            )
    text = nbformat.writes(replayed.notebook)  # type: ignore[no-untyped-call]
    try:
        with replace_file(own_target(path)) as file:
            file.write(text if text.endswith("\n") else text + "\n")
    except OSError as error:
        raise AnswerFileError(f"{path} cannot be written: {error.strerror or error}") from None
