"""A Stop button below a batch, where a click is heard while the batch runs.

A click reaches the kernel as a message. While a cell waits, messages wait too, unless the front end sends those of widgets to a
subshell, a thread of their own (ipykernel 7 with JupyterLab 4.4 and later). So below a waiting cell the button appears only once
the front end has made a subshell, and below a batch in the background at once. The Stop of the notebook works in any case.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any, Callable

from .screen import show_bundle

__all__ = ["StopButton"]

# A batch that ends sooner needs no button, and no import of ipywidgets.
_AFTER_SECONDS = 0.5


class StopButton:
    """Offers to stop a run.

    Parameters
    ----------
    stop : callable
        Ends the run, from any thread.
    kernel : Kernel or None
        Of the shell.
    waiting : bool
        True if a cell waits for the run.
    """

    def __init__(self, stop: Callable[[], None], *, kernel: Any, waiting: bool) -> None:
        self._stop = stop
        self._kernel = kernel
        self._waiting = waiting
        self._possible = kernel is not None and (not waiting or getattr(kernel, "_supports_kernel_subshells", False))
        self._started = time.monotonic()
        self._button: Any = None
        self._handle: Any = None

    def offer(self) -> None:
        """Show the button when it would be heard; called again and again while the run goes on."""
        if not self._possible or self._handle is not None or time.monotonic() - self._started < _AFTER_SECONDS:
            return
        if self._button is None:
            if find_spec("ipywidgets") is None:
                self._possible = False
                return
            from ipywidgets import Button

            # Making it tells the front end, which then makes the subshell.
            self._button = Button(description="Stop", icon="stop", tooltip="End the batch; finished rows are kept")
            self._button.on_click(self._clicked)
        if self._waiting and not self._has_subshell():
            return
        view = {"version_major": 2, "version_minor": 0, "model_id": self._button.model_id}
        # Where widgets are not shown, nothing is.
        bundle = {"text/plain": "", "text/html": "", "application/vnd.jupyter.widget-view+json": view}
        self._handle = show_bundle(bundle, display_id=True)

    def _has_subshell(self) -> bool:
        manager = getattr(getattr(self._kernel, "shell_channel_thread", None), "manager", None)
        return manager is not None and bool(manager.list_subshell())

    def _clicked(self, _: Any) -> None:
        self._button.disabled = True
        self._stop()

    def close(self) -> None:
        """Take the button away."""
        self._possible = False
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)
        if self._button is not None:
            from .widgets import close_with_parts

            close_with_parts(self._button)
            self._button = None
