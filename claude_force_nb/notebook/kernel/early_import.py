"""Imports the SDK while a person types the first question, so that its answer need not wait for that.

A notebook that was asked before is answered from the cache, which needs no SDK: there nothing is imported before a call has to be made.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Optional

__all__ = ["EarlyImport"]

# Cells that are run from the top follow each other faster; a person who types takes longer.
_IDLE_SECONDS = 1.5

logger = logging.getLogger("claude_force_nb")


class EarlyImport:
    """One import in a thread of its own, once the kernel has been idle for a moment.

    Parameters
    ----------
    is_expected : callable
        Tells, in that thread, whether a call is likely to be made.
    idle_seconds : float
        How long the kernel has to be idle, > 0.
    """

    def __init__(self, is_expected: Callable[[], bool], *, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._is_expected = is_expected
        self._idle_seconds = idle_seconds
        self._timer: Optional[threading.Timer] = None
        self._done = False

    def idle(self) -> None:
        """Say that a cell has ended."""
        self.busy()
        if not self._done:
            self._timer = threading.Timer(self._idle_seconds, self._import)
            self._timer.daemon = True
            self._timer.start()

    def busy(self) -> None:
        """Say that a cell begins: it may take up to a moment more before anything is imported."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Import nothing any more."""
        self._done = True
        self.busy()

    def _import(self) -> None:
        if self._done:
            return
        self._done = True
        try:
            if self._is_expected():
                from claude_force_nb.api.sdk import import_sdk

                import_sdk()
        except Exception as error:  # the call itself will say what is wrong
            logger.debug("the SDK could not be imported early: %r", error)
