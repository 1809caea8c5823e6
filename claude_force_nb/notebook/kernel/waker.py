"""Lets a signal wake the kernel's event loop."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Optional, Tuple

__all__ = ["SignalWaker", "signals_wake"]


class SignalWaker:
    """Lets a signal wake a sleeping event loop, so that Stop ends any cell that awaits, even a plain ``await``.

    The kernel's own handler cancels the cell on SIGINT but does not wake the loop (ipython/ipykernel#881), so that the cell
    would continue until something else happens. No handler is changed: the signal module writes to a socket (see
    `signal.set_wakeup_fd`) that the loop watches.
    """

    def __init__(self) -> None:
        # Kept from cell to cell, since opening and watching them takes longer than everything else here.
        self._sockets: Optional[Tuple[socket.socket, socket.socket]] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def start(self) -> None:
        """Watch for signals while a cell runs; do nothing if signals cannot be received, or already wake the loop."""
        try:
            loop = asyncio.get_running_loop()
            if signals_wake():
                return
            if self._sockets is None or self._loop is not loop:
                self._open(loop)
            assert self._sockets is not None
            signal.set_wakeup_fd(self._sockets[1].fileno(), warn_on_full_buffer=False)
        except (ValueError, NotImplementedError, RuntimeError, OSError):  # not the main thread, or no `add_reader`
            self.close()

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._sockets, self._loop = socket.socketpair(), loop
        for each in self._sockets:
            each.setblocking(False)
        loop.add_reader(self._sockets[0], _drain, self._sockets[0])

    def stop(self) -> None:
        """Stop watching; safe to call at any time."""
        if self._sockets is None:
            return
        try:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, self._sockets[1].fileno()):
                signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            pass

    def close(self) -> None:
        """Stop watching and close the sockets; safe to call at any time."""
        self.stop()
        if self._sockets is None:
            return
        read, write = self._sockets
        self._sockets = None
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.remove_reader(read)
            except NotImplementedError:
                pass
        read.close()
        write.close()


def signals_wake() -> bool:
    """Return whether signals already write to a wakeup file descriptor, ours or another one.

    Raises
    ------
    ValueError
        Outside the main thread, which alone receives signals.
    """
    current = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(current, warn_on_full_buffer=False)
    return current != -1


def _drain(read: socket.socket) -> None:
    try:
        while read.recv(4096):
            pass
    except BlockingIOError:
        pass
