"""Rich display of answers in notebooks without our extension: marimo, and IPython before the extension is loaded."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Tuple

__all__ = ["ShownInNotebooks", "set_renderer"]

Render = Callable[[object], Mapping[str, str]]
_render: Optional[Render] = None


def set_renderer(render: Render) -> None:
    """Set the function that renders values, since this room does not contain any HTML.

    Parameters
    ----------
    render : callable
        Returns the representations of a value by MIME type, including ``text/markdown`` and ``text/html``.
    """
    global _render
    _render = render


class ShownInNotebooks:
    """Base class with the methods that notebooks call for rich representations."""

    def _repr_markdown_(self) -> Optional[str]:
        return None if _render is None else _render(self)["text/markdown"]

    def _mime_(self) -> Tuple[str, str]:
        """Return the representation for marimo (its documentation, "Rich representations")."""
        return ("text/plain", repr(self)) if _render is None else ("text/html", _render(self)["text/html"])
