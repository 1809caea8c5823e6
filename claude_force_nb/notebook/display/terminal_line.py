"""A terminal line that is overwritten in place."""

from __future__ import annotations

import sys

from claude_force_nb.text_tables import one_line, terminal_width

__all__ = ["TerminalLine"]

# The terminal itself echoes this after the line when the user interrupts.
_CTRL_C = "^C"


class TerminalLine:
    """A status line on standard error. It shows nothing if that is not a terminal.

    Parameters
    ----------
    in_kernel : bool
        True to show the line in a kernel, which cannot tell whether its console is a terminal.
    """

    def __init__(self, *, in_kernel: bool = False) -> None:
        self._shows = in_kernel or (sys.stderr is not None and sys.stderr.isatty())
        self._line = ""

    def show(self, line: str) -> None:
        """Show or replace the line, cut to the terminal's width, since a wrapped line could not be overwritten."""
        width = terminal_width(sys.stderr)
        self._write(one_line(line) if width is None else one_line(line)[: width - 1 - len(_CTRL_C)])

    def clear(self) -> None:
        """Remove the line."""
        if self._line:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, line: str) -> None:
        if self._shows and line != self._line:
            # Overwrite with spaces, which needs no control sequences, and leave the cursor after the line.
            spaces = " " * (len(self._line + _CTRL_C) - len(line))
            sys.stderr.write(f"\r{line}{spaces}\r{line}" if spaces else f"\r{line}")
            sys.stderr.flush()
            self._line = line
