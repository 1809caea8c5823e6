"""Asking without ``await``: `ask` and `ask_many`, for scripts and for every notebook.

They work where no event loop runs and where one does, since theirs runs in a thread of its own; nothing is patched.
Others may use what this module exports.
"""

from .questions import ask, ask_many

__all__ = ["ask", "ask_many"]
