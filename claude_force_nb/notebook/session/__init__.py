"""The state of one shell while the extension is loaded: settings, orchestrator, conversations, budgets and background runs.

`NotebookSession` combines the parts, each in its own module. The commands receive the session and use its parts.
"""
