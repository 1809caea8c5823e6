"""A value that cannot be shown."""

from __future__ import annotations

__all__ = ["Endless"]


class Endless:
    """Its ``__repr__``, and with it its ``__str__``, calls itself without end."""

    def __repr__(self) -> str:
        return repr(self)
