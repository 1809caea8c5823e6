"""Text that every encoding takes. Pure."""

from __future__ import annotations

__all__ = ["well_formed"]


def well_formed(text: str) -> str:
    """Return a text whose surrogates are put together to characters; half a pair becomes U+FFFD.

    JSON and YAML can write half a pair (``"\\ud83d"``), and JavaScript cuts emoji into two: such a text cannot be encoded as UTF-8, so
    neither sent, shown nor written.
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
