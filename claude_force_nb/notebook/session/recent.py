"""Recent cells of the notebook, for ``{{ last_error }}`` and ``{{ history(5) }}``."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from claude_force_nb.errors import ClaudeForceError, PromptError, RunInterrupted
from claude_force_nb.vocabulary import counted, whole_number_fault

__all__ = ["RecentCells", "describe_failure"]

MOST_CELL_CHARACTERS = 4000
MOST_OUTPUT_CHARACTERS = 1000
MOST_TRACEBACK_CHARACTERS = 6000
MOST_CELLS = 50

# IPython's file name for the source of a cell, which differs from run to run and is not informative.
_CELL_FILE = re.compile(r'File "[^"\n]*(?:ipykernel_\d+[/\\]\d+\.py|<ipython-input-[^"\n]*)"')
_OF_IPYTHON = re.compile(r"[/\\]IPython[/\\]core[/\\]|[/\\]ipykernel[/\\]")


def cut(text: str, most: int, *, end: bool = False) -> str:
    """Return about the first `most` characters of a text, or the last with `end`, with a note about what was cut."""
    if len(text) <= most:
        return text
    left = f"[{counted(len(text) - most, 'character')} cut]"
    return f"{left}\n{text[-most:]}" if end else f"{text[:most]}\n{left}"


def describe_failure(source: str, error: BaseException) -> Optional[str]:
    """Return a failed cell and its traceback as text; None if it was not the cell's own code that failed.

    The text is created at once, because keeping the traceback would keep all of the cell's objects alive.
    """
    if isinstance(error, (ClaudeForceError, RunInterrupted, KeyboardInterrupt, SystemExit)):
        return None
    frames = error.__traceback__
    while frames is not None and _OF_IPYTHON.search(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    lines = traceback.TracebackException(type(error), error, frames).format()
    told = _CELL_FILE.sub('File "<cell>"', "".join(lines)).rstrip()
    python = ".".join(map(str, sys.version_info[:2]))
    return (
        f"The cell that failed (Python {python}):\n\n{cut(source.strip(), MOST_CELL_CHARACTERS)}\n\n"
        f"{cut(told, MOST_TRACEBACK_CHARACTERS, end=True)}"
    )


class RecentCells(Mapping[str, Any]):
    """Names that a template may use if the notebook does not define them.

    Parameters
    ----------
    shell : InteractiveShell
    last_failure : callable
        Returns the text of `describe_failure` for the last failed cell, or None.
    until : int, optional
        Number of the cell that uses the names; by default the running cell.
    """

    def __init__(self, shell: Any, last_failure: Callable[[], Optional[str]], *, until: Optional[int] = None) -> None:
        self._shell = shell
        self._until = until
        self._told: Dict[int, str] = {}
        self._names: Dict[str, Callable[[], Any]] = {"last_error": self._last_error, "history": lambda: self.history}
        self._last_failure = last_failure

    def as_of_now(self) -> RecentCells:
        """Return the names with their current values, which do not change while a batch runs."""
        failure = self._last_failure()
        return RecentCells(self._shell, lambda: failure, until=len(self._shell.history_manager.input_hist_raw) - 1)

    def __getitem__(self, name: str) -> Any:
        return self._names[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def _last_error(self) -> str:
        failure = self._last_failure()
        if failure is None:
            raise PromptError(
                "there is no last_error: no cell has failed since the extension was loaded; nothing was sent"
            )
        return failure

    def history(self, cells: int = 5) -> str:
        """Return the last cells before this one, each with its output, as text.

        A cell is cut to 4,000 characters and an output to 1,000, with a note. From IPython 8.37 and 9.1 on, outputs
        include what a cell printed; before that, only its value.

        Parameters
        ----------
        cells : int
            Number of cells, 1 to 50.
        """
        fault = whole_number_fault(cells, "history() takes the number of cells, which", 1)
        if fault or cells > MOST_CELLS:
            raise PromptError(f"{fault or f'history() takes at most {MOST_CELLS} cells'}; nothing was sent")
        told = self._told.get(cells)
        if told is not None:
            return told
        sources: List[str] = self._shell.history_manager.input_hist_raw
        # The last input is the running cell itself.
        until = len(sources) - 1 if self._until is None else self._until
        numbers = [number for number in range(1, until) if sources[number].strip()][-cells:]
        if not numbers:
            raise PromptError("there is no history: no cell was run before this one; nothing was sent")
        told = "\n\n".join(self._cell(number, sources[number].strip()) for number in numbers)
        if self._until is not None:  # the same for each row of a batch
            self._told[cells] = told
        return told

    def _cell(self, number: int, source: str) -> str:
        text = f"In [{number}]:\n{cut(source, MOST_CELL_CHARACTERS)}"
        output = self._output(number).strip()
        return f"{text}\n\nOut [{number}]:\n{cut(output, MOST_OUTPUT_CHARACTERS)}" if output else text

    def _output(self, number: int) -> str:
        kept = getattr(self._shell.history_manager, "outputs", None)
        if kept is not None:
            parts = []
            for output in kept.get(number, ()):
                shown = output.bundle.get("text/plain") or output.bundle.get("stream") or ""
                parts.append(shown if isinstance(shown, str) else "".join(shown))
            return "\n".join(parts)
        return str(self._shell.history_manager.output_hist_reprs.get(number, ""))
