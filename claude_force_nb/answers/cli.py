"""``claude-force-nb keys new|show|list|trust``: the key that signs answer files, and the trusted keys of others."""

from __future__ import annotations

import argparse
import os
import sys

from claude_force_nb.errors import ConfigurationError
from claude_force_nb.storage.user_folders import user_folder

from .public_keys import make_signing_key, own_public_key, trust_public_key, trusted_public_keys

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument(
        "action",
        choices=["new", "show", "list", "trust"],
        help="make a signing key; print its public key; list the trusted ones; trust KEY",
    )
    parser.add_argument("key", nargs="?", default="", help="public key to trust, 64 hexadecimal digits")
    parser.add_argument("name", nargs="?", default="", help="whose it is, for the list")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status: 0 on success, 1 if no key exists, 2 on incorrect usage."""
    folder = user_folder("config", os.environ)
    try:
        if arguments.action == "new":
            print(make_signing_key(folder))
        elif arguments.action == "trust":
            trust_public_key(folder, arguments.key, arguments.name)
        elif arguments.action == "list":
            for key, name in trusted_public_keys(folder):
                print(f"{key} {name}".rstrip())
        else:
            public = own_public_key(folder)
            if public is None:
                print("no signing key found; create one with: claude-force-nb keys new", file=sys.stderr)
                return 1
            print(public)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
