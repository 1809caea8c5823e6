"""What ``%claude_doctor`` and ``claude-force-nb doctor`` look at: software, the server and the way to it, what is on disk.

Each module has checks of one kind, which return `Finding`s; `examine` runs them all. Nothing here changes anything.
"""
