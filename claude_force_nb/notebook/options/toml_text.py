"""Reads TOML, and edits it while preserving comments and everything else."""

from __future__ import annotations

import copy
import re
from typing import Any, Dict, Mapping, MutableMapping, Sequence

from claude_force_nb.messages.nesting import load_toml

__all__ = ["parse_toml", "table_of", "with_changes"]


def parse_toml(content: bytes) -> Dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ValueError
        If it is not UTF-8, not valid TOML, or nested too deeply.
    """
    return load_toml(content.decode("utf-8"))


def table_of(data: Mapping[str, Any], table: Sequence[str]) -> Any:
    """Return the table with a name such as ``("tool", "ruff")``, or None if it does not exist."""
    found: Any = data
    for name in table:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def with_changes(content: bytes, table: Sequence[str], changes: Mapping[str, Any]) -> bytes:
    """Return the content with some keys of one table set, or removed if the value is None.

    Parameters
    ----------
    content : bytes
        TOML; empty for a new file.
    table : sequence of str
        Name of the table, added at the end of the file if missing; empty for the top of the file.
    changes : mapping
        Values by key: str, int, float or bool.

    Raises
    ------
    ValueError
        If the content is not valid TOML, or cannot be edited without changing anything else.
    """
    import tomlkit

    before = parse_toml(content)
    text = content.decode("utf-8")
    present = table_of(before, table)
    if present is None:
        added = "".join(
            f"{name} = {tomlkit.item(value).as_string()}\n" for name, value in changes.items() if value is not None
        )
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        text += f"{gap}[{'.'.join(table)}]\n{added}" if added else ""
    else:
        document = tomlkit.parse(text)
        holder: MutableMapping[str, Any] = document
        for name in table:
            holder = holder[name]
        for name, value in changes.items():
            if value is not None:
                holder[name] = value
            elif name in holder:
                del holder[name]
        text = tomlkit.dumps(document)
    if b"\r\n" in content:
        text = re.sub(r"(?<!\r)\n", "\r\n", text)
    changed = text.encode("utf-8")
    if parse_toml(changed) != _expected(before, table, changes):
        raise ValueError("this cannot be added to its layout")
    return changed


def _expected(before: Mapping[str, Any], table: Sequence[str], changes: Mapping[str, Any]) -> Dict[str, Any]:
    data: Dict[str, Any] = copy.deepcopy(dict(before))
    if table_of(data, table) is None and all(value is None for value in changes.values()):
        return data
    holder = data
    for name in table:
        holder = holder.setdefault(name, {})
    for name, value in changes.items():
        if value is None:
            holder.pop(name, None)
        else:
            holder[name] = value
    return data
