"""``python -m claude_force_nb.replay.closed_kernel``: an IPython kernel in which no code can open a connection.

The kernel's own channels are those of ZeroMQ, which does not go through Python's sockets. What the notebook starts as another process
is not held back.
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
    """Refuse every connection, name look-up and listening of this process from now on; it cannot be undone.

    An audit hook stays for the life of the interpreter (Python documentation, ``sys.addaudithook``).
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: Any) -> None:
    if event in _CLOSED:
        raise OSError(f"a replayed notebook has no network access ({event})")


if __name__ == "__main__":
    from ipykernel.kernelapp import launch_new_instance

    close_network()
    launch_new_instance()
