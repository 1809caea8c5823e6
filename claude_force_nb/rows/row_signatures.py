"""Signatures of the rows of a file, so that only rows written by this user and unchanged since are reused."""

from __future__ import annotations

import json
from typing import Any, Callable, Mapping, Optional

from claude_force_nb.cache import RecordKeys
from claude_force_nb.errors import ClaudeForceWarning, SecretError
from claude_force_nb.warn import warn

__all__ = ["SIGNATURE", "RowSignatures"]

SIGNATURE = "signature"
"""The column that has it."""

# Up to here a floating point number has every whole number, and pyarrow turns one into the other.
_EXACT = 2**53
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


class RowSignatures:
    """Signs rows as JSON data and checks them.

    The signature is over all columns, and the same after a way through Parquet, which orders columns anew, gives every row all columns,
    and turns the whole numbers of a column into floating point ones where one row has such.

    Parameters
    ----------
    keys : RecordKeys or None
        None without a secret to sign with: rows are then neither signed nor verified.
    """

    def __init__(self, keys: Optional[RecordKeys] = None) -> None:
        self._keys = keys

    @classmethod
    def made_by(cls, make_keys: Callable[[], RecordKeys]) -> RowSignatures:
        """Return signatures with keys; without a secret, warn and do without."""
        try:
            return cls(make_keys())
        except SecretError as error:
            warn(f"{error}; the rows of the file are not signed", ClaudeForceWarning)
            return cls()

    def sign(self, record: Mapping[str, Any]) -> Optional[str]:
        """Return the signature of a row without one; None without a key."""
        return None if self._keys is None else self._keys.sign(_signed_part(record))

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Return whether a row bears the signature of this user."""
        return self._keys is not None and self._keys.fits(_signed_part(record), record.get(SIGNATURE))


def _signed_part(record: Mapping[str, Any]) -> bytes:
    return _encode(
        {name: _settled(value) for name, value in record.items() if value is not None and name != SIGNATURE}
    ).encode("ascii")


def _settled(value: Any) -> Any:
    """Return JSON data in the form that it has on every way: whole numbers as such, and no names without a value."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if kind is dict:
        return {name: _settled(item) for name, item in value.items() if item is not None}
    if kind is list:
        return [_settled(item) for item in value]
    return value
