"""What ``%claude_doctor`` and ``claude-force-nb doctor`` look at: software, the server and the way to it, what is on disk.

Each module has checks of one kind, which give `Finding`s; `examine` puts them together. Nothing here changes anything.
"""
