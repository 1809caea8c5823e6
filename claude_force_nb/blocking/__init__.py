"""Calls without ``await``: `ask` and `ask_many`, for scripts and any kind of notebook.

They work with and without a running event loop, since their own loop runs in a separate thread; nothing is patched.
Other rooms may use the names exported here.
"""

from .questions import ask, ask_many

__all__ = ["ask", "ask_many"]
