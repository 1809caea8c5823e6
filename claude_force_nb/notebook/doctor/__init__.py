"""The checks of ``%claude_doctor`` and ``claude-force-nb doctor``: software, the server and the connection to it, files.

Each module has checks of one kind, which return `Finding`s; `examine` runs them all. No check changes anything.
"""
