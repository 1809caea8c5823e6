"""Detects whether output can be updated in place, as far as a kernel can know.

Display updates do not work everywhere: consoles and an active `Output` widget ignore them, and ``%%capture`` keeps each
update as a separate output. There, nothing important may be shown by an update only.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from typing import Any, Mapping

__all__ = ["Live", "hears_clicks", "is_captured", "live_form", "shows_updates"]

# A message id of jupyter_client is session id, process id and a number; a front end in a browser sends a plain UUID.
_PYTHON_CLIENT = re.compile(r"_\d+\Z")
_BROWSER_CLIENT = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")


class Live(Enum):
    """How incomplete output is shown."""

    IN_PLACE = "one display that is updated"
    TEXT = "plain text as it comes"
    AT_END = "one display when it is complete"


def is_captured(shell: Any) -> bool:
    """Return whether displays are stored instead of sent, as in ``%%capture``."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(shell.display_pub, CapturingDisplayPublisher)


def _in_output_widget(message_id: str) -> bool:
    """Return whether an `Output` widget captures the output of the message with this id."""
    widgets = sys.modules.get("ipywidgets.widgets.widget")
    output = sys.modules.get("ipywidgets.widgets.widget_output")
    if widgets is None or output is None or not message_id:
        return False
    # The module has this dict from ipywidgets 8 on; before, it was an attribute of the class.
    living: Mapping[str, Any] = getattr(widgets, "_instances", None) or getattr(widgets.Widget, "widgets", {})
    return any(isinstance(each, output.Output) and each.msg_id == message_id for each in list(living.values()))


def shows_updates(shell: Any, message: Any) -> bool:
    """Return whether the user sees display updates, and the saved notebook keeps them as one output.

    Parameters
    ----------
    shell : InteractiveShell
        The kernel's shell.
    message : dict
        The message that the kernel is answering; {} outside a kernel.

    Notes
    -----
    A front end does not identify itself. If it sends a cell id, it is a notebook. Otherwise the form of the message id tells
    whether the message comes from a browser, where displays are updated, or from jupyter_client. Of the latter's programs,
    consoles allow input and ignore updates, while nbclient, papermill and voila allow no input and apply updates. Without a
    known form there are no updates, which works everywhere.
    """
    message = message if isinstance(message, dict) else {}
    header, metadata, content = (message.get(part) or {} for part in ("header", "metadata", "content"))
    message_id = str(header.get("msg_id", ""))
    if is_captured(shell) or _in_output_widget(message_id):
        return False
    if "google.colab" in sys.modules or metadata.get("cellId"):
        return True
    if _BROWSER_CLIENT.match(message_id):
        return True
    return bool(_PYTHON_CLIENT.search(message_id)) and content.get("allow_stdin") is False


def hears_clicks(message: Any, environ: Mapping[str, str]) -> bool:
    """Return whether a click on a widget can reach the kernel.

    Parameters
    ----------
    message : dict
        See `shows_updates`.
    environ : mapping
        Environment of the kernel, in which voila identifies itself: it runs a notebook like nbclient, but shows its widgets.
    """
    header = (message.get("header") if isinstance(message, dict) else None) or {}
    made_in_python = bool(_PYTHON_CLIENT.search(str(header.get("msg_id", ""))))
    return not made_in_python or environ.get("SERVER_SOFTWARE", "").startswith("voila")


def live_form(asked: str, *, updates: bool) -> Live:
    """Return how incomplete output is shown.

    Parameters
    ----------
    asked : str
        Value of ``live=``: auto, on or off.
    updates : bool
        Whether display updates work here.
    """
    if asked == "off":
        return Live.AT_END
    if updates:
        return Live.IN_PLACE
    return Live.TEXT if asked == "on" else Live.AT_END
