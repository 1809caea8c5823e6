"""``python -m claude_force_nb cost``: the table of ``%claude_cost`` in a terminal, and the export."""

from __future__ import annotations

import argparse
import os
import time

from claude_force_nb.costs.ledger import Ledger, default_ledger_path, parse_since

from .views import GROUPS, cost_view

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to `parser`."""
    parser.description = "Show what was spent and what the cache saved, from the ledger of all notebooks."
    parser.add_argument("--by", choices=GROUPS, default="model", help="what a line stands for (default: %(default)s)")
    parser.add_argument("--since", default="", metavar="WHEN", help="such as 7d, 24h or 2026-11-01 (default: ever)")
    parser.add_argument("--csv", metavar="FILE", help="write every entry to a CSV file instead")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or write the file; return the exit status."""
    ledger = Ledger(default_ledger_path(os.environ))
    now = time.time()
    try:
        if arguments.csv:
            since = parse_since(arguments.since, now=now) if arguments.since else None
            print("{} entries written to {}".format(ledger.export_csv(arguments.csv, since=since), arguments.csv))
        else:
            print(cost_view(ledger, arguments.by, arguments.since, now=now)["text/plain"])
    finally:
        ledger.close()
    return 0
