"""The state of one shell while the extension is loaded: settings, orchestrator, conversations, budgets and background runs.

`NotebookSession` only combines the parts; each part has its own file. The commands get the session and use its parts.
"""
