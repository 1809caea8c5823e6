"""Text that can be encoded. Pure."""

from __future__ import annotations

__all__ = ["well_formed"]


def well_formed(text: str) -> str:
    """Return a text with surrogate pairs joined into characters, and lone surrogates replaced by U+FFFD.

    JSON and YAML can contain half of a pair (``"\\ud83d"``), and JavaScript may split an emoji in two. Such a text
    cannot be encoded as UTF-8, so it cannot be sent, shown or written.
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
