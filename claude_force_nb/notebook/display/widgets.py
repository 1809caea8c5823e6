"""Closing widgets. Imported only when a widget exists: ipywidgets takes time to import."""

from __future__ import annotations

from typing import Any, List

import ipywidgets

__all__ = ["close_with_parts"]


def close_with_parts(widget: Any) -> None:
    """Close a widget with its children, layout and style, each of which has a comm of its own."""
    for part in _with_parts(widget):
        part.close()


def _with_parts(widget: Any) -> List[Any]:
    found = [widget]
    for child in getattr(widget, "children", ()):
        found += _with_parts(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if isinstance(part, ipywidgets.Widget):
            found.append(part)
    return found
