"""``claude-force-nb cache stats|verify|clear|path``."""

from __future__ import annotations

import argparse
import sys
from typing import Dict

from claude_force_nb.errors import ConfigurationError
from claude_force_nb.vocabulary import counted

from .response_cache import ResponseCache

__all__ = ["add_arguments", "run"]

_ACTIONS: Dict[str, str] = {
    "stats": "entries, size and limit",
    "verify": "read and check every entry; exit with 1 if one was corrupt",
    "clear": "remove every entry; asks unless --yes is given",
    "path": "print the directory",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    lines = ", ".join(f"{name} ({text})" for name, text in _ACTIONS.items())
    parser.add_argument("action", choices=list(_ACTIONS), help=lines)
    parser.add_argument(
        "--dir", default=None, help="directory of the cache (default: CLAUDE_CACHE_DIR, else the user's)"
    )
    parser.add_argument("--max-size-mb", type=float, default=500, help="limit to compare with (default: %(default)s)")
    parser.add_argument(
        "--tier",
        choices=("local", "shared"),
        default="local",
        help="the cache of this machine, or that of CLAUDE_CACHE_URL (default: %(default)s)",
    )
    parser.add_argument("--yes", action="store_true", help="clear without asking")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status: 0 on success, 1 if the cache has problems, 2 on incorrect usage."""
    try:
        cache = ResponseCache(arguments.dir, max_size_mb=arguments.max_size_mb)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    with cache:
        if arguments.tier == "shared":
            return _run_shared(cache, arguments)
        if arguments.action == "path":
            print(cache.directory)
            return 0
        if not cache.directory.is_dir():
            # Inspecting a cache must not create one.
            print(f"there is no cache in {cache.directory}")
            return 0
        if arguments.action == "verify":
            report = cache.verify()
            print(report)
            return 0 if report.ok else 1
        stats = cache.stats()
        if arguments.action == "stats":
            print(f"directory  {cache.directory}")
            print(f"entries    {stats.entries:,}")
            share = 100 * stats.size_bytes / stats.max_size_bytes
            print(f"size       {stats.size_bytes:,} of {stats.max_size_bytes:,} bytes ({share:.1f} %)")
            return 0
        if not arguments.yes and not _agreed(stats.entries, str(cache.directory)):
            print("nothing was removed")
            return 1
        print(f"removed {counted(cache.clear(), 'entry')}")
        return 0


def _run_shared(cache: ResponseCache, arguments: argparse.Namespace) -> int:
    shared = cache.shared
    if shared is None:
        print("no shared cache is configured; set CLAUDE_CACHE_URL=redis://…", file=sys.stderr)
        return 2
    if arguments.action == "path":
        print(shared.name)
        return 0
    if arguments.action == "verify":
        report = shared.verify()
        print(report)
        return 0 if report.ok else 1
    stats = shared.stats()
    if not stats.available:
        print(f"{shared.name} cannot be reached now")
        return 1
    if arguments.action == "stats":
        print(f"server     {shared.name}\nentries    {stats.entries:,}\nsize       {counted(stats.size_bytes, 'byte')}")
        return 0
    if not arguments.yes and not _agreed(stats.entries, f"{shared.name}, which others use"):
        print("nothing was removed")
        return 1
    print(f"removed {counted(shared.clear() or 0, 'entry')}")
    return 0


def _agreed(entries: int, directory: str) -> bool:
    try:
        answer = input(f"remove {counted(entries, 'entry')} from {directory}? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")
