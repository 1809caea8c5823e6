"""How answers show themselves in notebooks that know nothing of this package: marimo, and IPython without the extension."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Tuple

__all__ = ["ShownInNotebooks", "set_renderer"]

Render = Callable[[object], Mapping[str, str]]
_render: Optional[Render] = None


def set_renderer(render: Render) -> None:
    """Say what renders values: this room knows no HTML.

    Parameters
    ----------
    render : callable
        Gives the forms of a value by MIME type, among them ``text/markdown`` and ``text/html``.
    """
    global _render
    _render = render


class ShownInNotebooks:
    """Gives a value the methods by which notebooks ask for its rich forms."""

    def _repr_markdown_(self) -> Optional[str]:
        return None if _render is None else _render(self)["text/markdown"]

    def _mime_(self) -> Tuple[str, str]:
        """Return what marimo shows (its documentation, "Rich representations")."""
        return ("text/plain", repr(self)) if _render is None else ("text/html", _render(self)["text/html"])
