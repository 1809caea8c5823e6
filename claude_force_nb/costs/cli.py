"""``claude-force-nb cost``: spending and savings in a terminal."""

from __future__ import annotations

import argparse
import os
import time

from claude_force_nb.errors import OptionError

from .budget import DailyBudget
from .ledger import Ledger, default_ledger_path, parse_since
from .report import GROUPS, budget_line, cost_report, export, prune

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to `parser`."""
    parser.description = "Show what was spent and what the cache saved, from the ledger of all notebooks."
    parser.add_argument(
        "--by", choices=GROUPS, default="model", help="group the answers by this (default: %(default)s)"
    )
    parser.add_argument(
        "--since",
        default="",
        metavar="WHEN",
        help="only answers since then, such as 7d, 24h or 2026-11-01 (default: all)",
    )
    parser.add_argument(
        "--format", choices=("text", "markdown"), default="text", help="format of the table (default: %(default)s)"
    )
    parser.add_argument(
        "--daily-budget",
        metavar="DOLLARS",
        default=os.environ.get("CLAUDE_FORCE_DAILY_BUDGET", "none"),
        help="show how much of this daily budget is left (default: CLAUDE_FORCE_DAILY_BUDGET)",
    )
    parser.add_argument(
        "--local",
        action="store_true",
        help="show answers of servers on this machine, such as the simulator, which are kept apart from real spending",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--csv", metavar="FILE", help="write every answer to a .csv file instead")
    instead.add_argument("--prune", metavar="AGE", help="remove answers older than this instead, such as 90d")


def run(arguments: argparse.Namespace) -> int:
    """Print the table, write the file, or prune; return the exit status."""
    path = default_ledger_path(os.environ, local=arguments.local)
    ledger, daily = Ledger(path), DailyBudget(arguments.daily_budget, path)
    now = time.time()
    try:
        if arguments.prune is not None:
            if arguments.since:
                raise OptionError("--prune cannot be combined with --since")
            print(prune(ledger, arguments.prune, now=now))
        elif arguments.csv is not None:
            moment = parse_since(arguments.since, now=now) if arguments.since else None
            print(export(ledger, arguments.csv, moment))
        else:
            report = cost_report(ledger, arguments.by, arguments.since, now=now, below=(budget_line(daily),))
            print(report.markdown() if arguments.format == "markdown" else report.text())
    finally:
        ledger.close()
        daily.close()
    return 0
