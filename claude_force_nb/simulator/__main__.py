"""``python -m claude_force_nb.simulator``."""

from __future__ import annotations

import argparse
import sys

from .cli import add_arguments, run


def main() -> int:
    """Parse the command line and run the server."""
    parser = argparse.ArgumentParser(prog="python -m claude_force_nb.simulator")
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
