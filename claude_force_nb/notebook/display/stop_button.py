"""A Stop button below a batch, shown only if the kernel can handle a click while the batch runs.

A click reaches the kernel as a comm message. While a cell runs, messages are queued, unless the front end sends those of
widgets to a subshell, which has its own thread (ipykernel 7 with JupyterLab 4.4 and later). So below a running cell the
button appears only once the front end has created a subshell; below a batch in the background it appears at once. The
notebook's own Stop button always works.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any, Callable

from .screen import show_bundle

__all__ = ["StopButton"]

# A batch that ends sooner needs no button, and does not import ipywidgets.
_AFTER_SECONDS = 0.5


class StopButton:
    """A button that stops a run.

    Parameters
    ----------
    stop : callable
        Stops the run; may be called from any thread.
    kernel : Kernel or None
        The shell's kernel.
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
        """Show the button once a click can be handled; called repeatedly during the run."""
        if not self._possible or self._handle is not None or time.monotonic() - self._started < _AFTER_SECONDS:
            return
        if self._button is None:
            if find_spec("ipywidgets") is None:
                self._possible = False
                return
            from ipywidgets import Button

            # Creating the button opens its comm, upon which the front end creates the subshell.
            self._button = Button(description="Stop", icon="stop", tooltip="End the batch; finished rows are kept")
            self._button.on_click(self._clicked)
        if self._waiting and not self._has_subshell():
            return
        view = {"version_major": 2, "version_minor": 0, "model_id": self._button.model_id}
        # Empty text, so that front ends without widgets show nothing.
        bundle = {"text/plain": "", "text/html": "", "application/vnd.jupyter.widget-view+json": view}
        self._handle = show_bundle(bundle, display_id=True)

    def _has_subshell(self) -> bool:
        manager = getattr(getattr(self._kernel, "shell_channel_thread", None), "manager", None)
        return manager is not None and bool(manager.list_subshell())

    def _clicked(self, _: Any) -> None:
        self._button.disabled = True
        self._stop()

    def close(self) -> None:
        """Remove the button."""
        self._possible = False
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)
        if self._button is not None:
            from .widgets import close_with_parts

            close_with_parts(self._button)
            self._button = None
