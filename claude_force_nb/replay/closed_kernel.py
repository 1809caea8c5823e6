"""``python -m claude_force_nb.replay.closed_kernel``: an IPython kernel in which no code can open a connection.

The kernel's own channels use ZeroMQ, which does not go through Python's sockets. Other processes that the notebook starts
are not restricted.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["close_network"]

_CLOSED = frozenset(
    [
        "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname", "socket.sendmsg",
        "socket.sendto",
    ]
)  # fmt: skip


def close_network() -> None:
    """Refuse every connection, name lookup and listening socket in this process from now on.

    This cannot be undone: an audit hook stays for the life of the interpreter (Python docs, ``sys.addaudithook``).
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: Any) -> None:
    if event in _CLOSED:
        raise OSError(f"a replayed notebook has no network access ({event})")


if __name__ == "__main__":
    from ipykernel.kernelapp import launch_new_instance

    close_network()
    launch_new_instance()
