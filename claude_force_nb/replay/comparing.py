"""Compares a saved notebook with the same notebook run again. Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping

from claude_force_nb.text_tables import one_line

from .saved import code_cells, is_about_the_run, without_receipt

__all__ = ["changed_cells", "failed_cells", "missed_cells"]

_MISS = "AnswerMissError"
_METADATA_KEY = "claude_force_nb"
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
# A warning of this package is one line, which does not contain paths of the machine.
_OWN_WARNING = re.compile(r"^claude_force_nb:\d+: .*\n?", re.MULTILINE)
# The table of a batch, whose rows say whether their answer was cached.
_BATCH = re.compile(r"row +status +")
_BATCH_ROW = re.compile(r"^(\d+) +(?:ok|cached) +", re.MULTILINE)
_OWN_HTML = '<div class="claude-force '
_FORMS = ("text/plain", "text/markdown", "text/html")


def missed_cells(again: Mapping[str, Any]) -> Dict[int, str]:
    """Return the cells whose answer is not in the file, by number, with a line that says what differs."""
    return {
        number: one_line(output.get("evalue", ""))
        for number, cell in enumerate(code_cells(again), 1)
        for output in _outputs(cell)
        if output.get("output_type") == "error" and output.get("ename") == _MISS
    }


def failed_cells(saved: Mapping[str, Any], again: Mapping[str, Any]) -> Dict[int, str]:
    """Return the cells that fail now but not in the saved notebook, other than misses, by number with their error."""
    failed = {}
    for number, (before, after) in enumerate(zip(code_cells(saved), code_cells(again)), 1):
        errors = [output for output in _outputs(after) if output.get("output_type") == "error"]
        failed_before = any(output.get("output_type") == "error" for output in _outputs(before))
        if errors and not failed_before and errors[0].get("ename") != _MISS:
            failed[number] = one_line(f"{errors[0].get('ename')}: {errors[0].get('evalue')}")
    return failed


def changed_cells(saved: Mapping[str, Any], again: Mapping[str, Any]) -> List[int]:
    """Return the numbers of the code cells whose output has changed.

    Costs, savings and warnings of the run are ignored, as are memory addresses of objects, settings and the like.
    """
    return [
        number
        for number, (before, after) in enumerate(zip(code_cells(saved), code_cells(again)), 1)
        if not is_about_the_run(before) and _shown(before) != _shown(after)
    ]


def _outputs(cell: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    outputs = cell.get("outputs")
    return [output for output in outputs if isinstance(output, Mapping)] if isinstance(outputs, list) else []


def _shown(cell: Mapping[str, Any]) -> List[Any]:
    """Return the output of a cell as data that can be compared; texts of the same stream are joined."""
    shown: List[Any] = []
    for output in _outputs(cell):
        kind = output.get("output_type")
        if kind == "stream":
            name, text = output.get("name"), _OWN_WARNING.sub("", _plain(output.get("text")))
            if not text:
                continue
            if shown and shown[-1][0] == name:
                shown[-1][1] += text
            else:
                shown.append([name, text])
        elif kind == "error":
            shown.append(["error", output.get("ename"), _plain(output.get("evalue"))])
        elif _said(output).get("about") != "run":
            shown.append(["data", _data(output)])
    return shown


def _said(output: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = output.get("metadata")
    said = metadata.get(_METADATA_KEY) if isinstance(metadata, Mapping) else None
    return said if isinstance(said, Mapping) else {}


def _data(output: Mapping[str, Any]) -> Any:
    data = output.get("data")
    data = data if isinstance(data, Mapping) else {}
    said = _said(output)
    if said:
        # Every MIME type contains the receipt; the plain text, without it, stands for all.
        return [said.get("fingerprint"), without_receipt(_plain(data.get("text/plain")))]
    if _BATCH.match(_plain(data.get("text/plain"))):
        return _BATCH_ROW.sub(r"\1 ", without_receipt(_plain(data.get("text/plain"))))
    if _plain(data.get("text/html")).startswith(_OWN_HTML):
        # Another version of the package may render the same content differently.
        return _plain(data.get("text/plain"))
    return {form: _plain(value) if form in _FORMS else value for form, value in data.items()}


def _plain(text: Any) -> str:
    joined = "".join(map(str, text)) if isinstance(text, list) else str(text or "")
    return _ADDRESS.sub("0x", joined)
