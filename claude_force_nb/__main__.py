"""The console command ``claude-force-nb``, also ``python -m claude_force_nb``, with a subcommand for each of `COMMANDS`."""

from __future__ import annotations

import argparse
import io
import sys
from importlib import import_module
from typing import Optional, Sequence

from claude_force_nb import __version__

from .errors import ClaudeForceError
from .text_tables import one_line

# Each command is implemented in its room, in a module with add_arguments(parser) and run(arguments) -> exit status.
COMMANDS = {
    "demo": (".notebook.demo", "run the quickstart notebook twice against the simulator"),
    "simulator": (".simulator.cli", "serve a Messages API on this machine, with simulated answers"),
    "cache": (".cache.cli", "inspect, verify or clear the response cache"),
    "cost": (".costs.cli", "show what was spent and saved"),
    "replay": (".replay.cli", "run a notebook again from its answer file, and check it"),
    "audit": (".replay.audit_cli", "show where each answer in a notebook comes from"),
    "keys": (".answers.cli", "make a key to sign answer files, or trust somebody else's"),
    "doctor": (".notebook.doctor.cli", "check this machine, and say how to fix what does not work"),
}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # When redirected on Windows, output has a legacy encoding that lacks bars and many characters of names.
        # Question marks are better than an error.
        sys.stdout.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(prog="claude-force-nb", description="Command-line tools for Claude in notebooks.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    chosen = words[0] if words else ""
    for name, (module, meaning) in COMMANDS.items():
        subparser = commands.add_parser(name, help=meaning)
        if name == chosen:  # import only the chosen command, since imports take time
            import_module(module, __package__).add_arguments(subparser)
    parsed = parser.parse_args(words)
    try:
        status: int = import_module(COMMANDS[parsed.command][0], __package__).run(parsed)
    except ClaudeForceError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
