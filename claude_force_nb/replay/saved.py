"""Reads a notebook file, and the metadata of the answers that its outputs show."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping

from claude_force_nb.errors import SourceError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.storage.regular_file import read_regular

__all__ = ["ShownAnswer", "code_cells", "is_about_the_run", "read_notebook", "shown_answers", "without_receipt"]

_MAX_BYTES = 256 * 2**20
_METADATA_KEY = "claude_force_nb"
# Magics whose output shows live progress; other magics mark the output that depends on the run.
_ABOUT_THE_RUN = re.compile(r"^\s*%claude_(?:dashboard|jobs)\b", re.MULTILINE)


@dataclass(frozen=True)
class ShownAnswer:
    """One output of a notebook that shows an answer.

    Attributes
    ----------
    cell : int
        Number of the code cell, from 1.
    text : str
        The plain text shown, without the receipt.
    provenance : mapping
        ``fingerprint``, ``request_id``, ``model``, ``model_asked``, ``agent``, ``date``, ``cost``, ``package``, ``repaired``,
        as claimed by the notebook; the values are displayed but not trusted.
    """

    cell: int
    text: str
    provenance: Mapping[str, Any]


def read_notebook(path: str) -> Dict[str, Any]:
    """Return a notebook of version 4 as JSON data.

    Raises
    ------
    SourceError
        If the file cannot be read, or is not a notebook.
    """
    try:
        notebook: Any = load_json(read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8"))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise SourceError(f"{path} is not a notebook: it is not valid JSON") from None
    if not isinstance(notebook, dict):
        raise SourceError(f"{path} is not a notebook of version 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise SourceError(f"{path} is not a notebook of version 4")
    return notebook


def code_cells(notebook: Mapping[str, Any]) -> List[Any]:
    """Return the code cells, in order."""
    return [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]


def is_about_the_run(cell: Mapping[str, Any]) -> bool:
    """Return whether a cell shows live progress, which differs from run to run."""
    return _ABOUT_THE_RUN.search(_joined(cell.get("source"))) is not None


def shown_answers(notebook: Mapping[str, Any]) -> Iterator[ShownAnswer]:
    """Yield the answers in the outputs that have provenance metadata."""
    for number, cell in enumerate(code_cells(notebook), 1):
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            metadata = output.get("metadata") if isinstance(output, dict) else None
            said = metadata.get(_METADATA_KEY) if isinstance(metadata, dict) else None
            if isinstance(said, dict) and isinstance(said.get("fingerprint"), str):
                data = output.get("data")
                plain = _joined(data.get("text/plain")) if isinstance(data, dict) else ""
                yield ShownAnswer(number, without_receipt(plain), said)


def without_receipt(plain: str) -> str:
    """Return an answer's plain text without its receipt."""
    return plain.rpartition("\n\n")[0]


def _joined(text: Any) -> str:
    """Return a text of a notebook, which may be stored as one string or a list of lines."""
    if isinstance(text, list):
        return "".join(line for line in text if isinstance(line, str))
    return text if isinstance(text, str) else ""
