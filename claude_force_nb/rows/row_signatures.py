"""Signatures of the rows of a file, so that only rows written by this user and unchanged since are reused."""

from __future__ import annotations

import json
from typing import Any, Callable, Mapping, Optional

from claude_force_nb.cache import RecordKeys
from claude_force_nb.errors import ClaudeForceWarning, SecretError
from claude_force_nb.warn import warn

__all__ = ["SIGNATURE", "RowSignatures"]

SIGNATURE = "signature"
"""Name of the column with the signature."""

# Floats represent every whole number up to this one exactly, so pyarrow may turn one into the other without loss.
_EXACT = 2**53
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


class RowSignatures:
    """Signs rows as JSON data and checks them.

    The signature covers all columns. It survives a round trip through Parquet, which reorders columns, adds missing columns to
    every row, and turns the whole numbers of a column into floats if one row has a float.

    Parameters
    ----------
    keys : RecordKeys or None
        None without a secret to sign with: rows are then neither signed nor verified.
    """

    def __init__(self, keys: Optional[RecordKeys] = None) -> None:
        self._keys = keys

    @classmethod
    def made_by(cls, make_keys: Callable[[], RecordKeys]) -> RowSignatures:
        """Return signatures with these keys; if there is no secret, warn and return one that does not sign."""
        try:
            return cls(make_keys())
        except SecretError as error:
            warn(f"{error}; the rows of the file are not signed", ClaudeForceWarning)
            return cls()

    def sign(self, record: Mapping[str, Any]) -> Optional[str]:
        """Return the signature of a row; None without a key."""
        return None if self._keys is None else self._keys.sign(_signed_part(record))

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Return whether a row has a valid signature of this user."""
        return self._keys is not None and self._keys.fits(_signed_part(record), record.get(SIGNATURE))


def _signed_part(record: Mapping[str, Any]) -> bytes:
    return _encode(
        {name: _normalised(value) for name, value in record.items() if value is not None and name != SIGNATURE}
    ).encode("ascii")


def _normalised(value: Any) -> Any:
    """Return JSON data in a form that Parquet does not change: whole floats as int, and no nulls."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if kind is dict:
        return {name: _normalised(item) for name, item in value.items() if item is not None}
    if kind is list:
        return [_normalised(item) for item in value]
    return value
