"""Asking without ``await``: `ask` and `ask_many`, for scripts and for every notebook.

They work with and without a running event loop, since their own loop runs in a separate thread; nothing is patched.
Others may use what this module exports.
"""

from .questions import ask, ask_many

__all__ = ["ask", "ask_many"]
