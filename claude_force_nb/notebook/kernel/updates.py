"""Whether output can be updated in place, as far as a kernel can know.

An update of a display is lost in some places: consoles and an active `Output` widget ignore it, and ``%%capture`` keeps each update
as an output of its own. Nothing that must be read may depend on an update there.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from typing import Any, Mapping

__all__ = ["Live", "hears_clicks", "is_captured", "live_form", "shows_updates"]

# jupyter_client: a session's id, the process, a number. Front ends in a browser send a bare UUID.
_PYTHON_CLIENT = re.compile(r"_\d+\Z")
_BROWSER_CLIENT = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")


class Live(Enum):
    """How something appears that is not complete yet."""

    IN_PLACE = "one display that is updated"
    TEXT = "plain text as it comes"
    AT_END = "one display when it is complete"


def is_captured(shell: Any) -> bool:
    """Return whether displays are kept instead of sent, as in ``%%capture``."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(shell.display_pub, CapturingDisplayPublisher)


def _in_output_widget(message_id: str) -> bool:
    """Return whether an `Output` widget takes what the message with this id shows."""
    widgets = sys.modules.get("ipywidgets.widgets.widget")
    output = sys.modules.get("ipywidgets.widgets.widget_output")
    if widgets is None or output is None or not message_id:
        return False
    # A module's dict from ipywidgets 8 on, the class's before.
    living: Mapping[str, Any] = getattr(widgets, "_instances", None) or getattr(widgets.Widget, "widgets", {})
    return any(isinstance(each, output.Output) and each.msg_id == message_id for each in list(living.values()))


def shows_updates(shell: Any, message: Any) -> bool:
    """Return whether an update of a display reaches the reader, and the saved notebook as one output.

    Parameters
    ----------
    shell : InteractiveShell
        Of a kernel.
    message : dict
        The message that the kernel is answering; {} outside a kernel.

    Notes
    -----
    A front end does not say what it is. Those that name the cell are notebooks. Of the others the form of the message's id tells
    where it was made: in a browser, where displays are updated, or by jupyter_client. Its consoles allow to ask for input and
    ignore updates; nbclient, papermill and voila allow none and apply them. What looks like neither gets no updates, which is
    right everywhere.
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
    """Return whether a click on a widget can come back to the kernel.

    Parameters
    ----------
    message : dict
        See `shows_updates`.
    environ : mapping
        Environment of the kernel; voila, which runs a notebook as nbclient does and then shows its widgets, names itself there.
    """
    header = (message.get("header") if isinstance(message, dict) else None) or {}
    made_in_python = bool(_PYTHON_CLIENT.search(str(header.get("msg_id", ""))))
    return not made_in_python or environ.get("SERVER_SOFTWARE", "").startswith("voila")


def live_form(asked: str, *, updates: bool) -> Live:
    """Return how something appears that is not complete yet.

    Parameters
    ----------
    asked : str
        Value of ``live=``: auto, on or off.
    updates : bool
        Whether displays are updated here.
    """
    if asked == "off":
        return Live.AT_END
    if updates:
        return Live.IN_PLACE
    return Live.TEXT if asked == "on" else Live.AT_END
