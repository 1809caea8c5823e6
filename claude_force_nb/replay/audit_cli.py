"""``claude-force-nb audit notebook.ipynb [--answers FILE] [--json]``."""

from __future__ import annotations

import argparse
import json

from claude_force_nb.cache import ResponseCache
from claude_force_nb.text_tables import one_line, plain_table, terminal_width

from .arguments import add_inputs, open_inputs, status_two_on_wrong_use
from .auditing import AuditedAnswer, audit
from .saved import shown_answers

__all__ = ["add_arguments", "run"]

_LONGEST = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.description = (
        "List the answers that a notebook shows, where each comes from, and whether the answer file or the cache has the same text."
        " Exit status: 0 if all are known and unchanged, 1 if not, 2 if it could not be read."
    )
    add_inputs(parser, notebook="notebook to read; nothing of it is run")
    parser.add_argument("--json", action="store_true", help="one JSON array, for programs")


@status_two_on_wrong_use
def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    saved, answers = open_inputs(arguments, needs_answers=False)
    with ResponseCache() as cache:
        # An audit must not create a cache.
        found = audit(shown_answers(saved), answers, cache if cache.directory.is_dir() else None)
    if arguments.json:
        print(json.dumps([answer.to_record() for answer in found], indent=1, sort_keys=True))
    else:
        _print_table(found)
    return 0 if all(answer.ok for answer in found) else 1


def _print_table(found: list[AuditedAnswer]) -> None:
    if not found:
        print("the notebook shows no answers that say where they come from")
        return
    header = ("cell", "agent", "model", "date", "cost", "request", "in", "text")
    same = {True: "the same", False: "differs", None: "not known"}
    rows = [
        tuple(
            one_line(value or "")[:_LONGEST]
            for value in (
                str(each.cell),
                each.agent,
                each.model,
                each.date,
                each.cost,
                each.request_id,
                each.found_in,
                same[each.same_text],
            )
        )
        for each in found
    ]
    for line in plain_table(header, rows, right=(0,), width=terminal_width()):
        print(line)
