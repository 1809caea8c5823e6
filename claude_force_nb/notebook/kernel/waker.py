"""Lets a signal wake the kernel's event loop."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Optional, Tuple

__all__ = ["SignalWaker"]


class SignalWaker:
    """Lets a signal end the event loop's sleep, so that Stop ends any cell that awaits, a plain ``await`` too.

    The kernel's own handler cancels the cell on SIGINT but does not wake the loop (ipython/ipykernel#881): without this, the
    cell goes on until something else happens. No handler is changed; signals are told to a socket that the loop watches.
    """

    def __init__(self) -> None:
        self._sockets: Optional[Tuple[socket.socket, socket.socket]] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def start(self) -> None:
        """Watch for signals while a cell runs; does nothing where signals do not come, or already wake the loop."""
        self.stop()
        try:
            loop = asyncio.get_running_loop()
            read, write = socket.socketpair()
        except (RuntimeError, OSError):
            return
        read.setblocking(False)
        write.setblocking(False)
        self._sockets, self._loop = (read, write), loop
        try:
            loop.add_reader(read, _drain, read)
            previous = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        except (ValueError, NotImplementedError, RuntimeError):  # another thread, or a loop without readers
            self.stop()
            return
        if previous != -1:  # somebody else's, which wakes the loop as well
            signal.set_wakeup_fd(previous)
            self.stop()

    def stop(self) -> None:
        """End the watching; safe to call at any time."""
        if self._sockets is None:
            return
        read, write = self._sockets
        self._sockets = None
        try:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, write.fileno()):
                signal.set_wakeup_fd(current)
        except ValueError:  # not the main thread
            pass
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(read)
        read.close()
        write.close()


def _drain(read: socket.socket) -> None:
    try:
        while read.recv(4096):
            pass
    except BlockingIOError:
        pass
