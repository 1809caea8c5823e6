"""A line of a terminal that is written anew in place."""

from __future__ import annotations

import sys

from claude_force_nb.text_tables import one_line, terminal_width

__all__ = ["TerminalLine"]

# What a terminal itself writes behind the line when the user stops what goes on.
_CTRL_C = "^C"


class TerminalLine:
    """What goes on, on standard error. Shows nothing where that is not a terminal.

    Parameters
    ----------
    in_kernel : bool
        True to show it also where a kernel writes, of whose console nothing is known.
    """

    def __init__(self, *, in_kernel: bool = False) -> None:
        self._shows = in_kernel or (sys.stderr is not None and sys.stderr.isatty())
        self._line = ""

    def show(self, line: str) -> None:
        """Replace the line, or nothing, by another one, cut to the terminal's width: what is broken into two is not replaced."""
        width = terminal_width(sys.stderr)
        self._write(one_line(line) if width is None else one_line(line)[: width - 1 - len(_CTRL_C)])

    def clear(self) -> None:
        """Take the line away."""
        if self._line:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _write(self, line: str) -> None:
        if self._shows and line != self._line:
            # With spaces, which a terminal without control sequences understands as well; the cursor stays behind the line.
            spaces = " " * (len(self._line + _CTRL_C) - len(line))
            sys.stderr.write(f"\r{line}{spaces}\r{line}" if spaces else f"\r{line}")
            sys.stderr.flush()
            self._line = line
