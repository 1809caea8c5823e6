"""Code that the commands `replay` and `audit` share: their inputs, and exit status 2 if these cannot be used."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from claude_force_nb.answers import AnswerFile
from claude_force_nb.errors import AnswerFileError, ConfigurationError

from .saved import read_notebook

__all__ = ["add_inputs", "open_inputs", "status_two_on_wrong_use"]

Command = Callable[[argparse.Namespace], int]


def add_inputs(parser: argparse.ArgumentParser, *, notebook: str) -> None:
    """Add the argument for the notebook, with the help text `notebook`, and ``--answers``."""
    parser.add_argument("notebook", type=Path, help=notebook)
    parser.add_argument("--answers", type=Path, help="answer file (default: NAME.answers.jsonl beside NAME.ipynb)")


def open_inputs(arguments: argparse.Namespace, *, needs_answers: bool) -> Tuple[Dict[str, Any], AnswerFile]:
    """Return the notebook as JSON data, and its answer file if it exists.

    Raises
    ------
    SourceError
        If the notebook cannot be read, or is not a notebook.
    AnswerFileError
        If the answer file cannot be read, or does not exist although it was named or `needs_answers` is True.
    """
    path: Path = arguments.notebook
    saved = read_notebook(str(path))
    answers = AnswerFile(arguments.answers or path.with_name(path.stem + ".answers.jsonl"))
    if answers.exists():
        answers.load()
    elif needs_answers or arguments.answers is not None:
        raise AnswerFileError(f"answer file {answers.path} not found; record one: %claude_answers record")
    return saved, answers


def status_two_on_wrong_use(command: Command) -> Command:
    """Wrap a command so that it prints one line and returns 2 if its files or options cannot be used."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except ConfigurationError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return run
