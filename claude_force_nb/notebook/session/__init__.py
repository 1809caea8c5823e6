"""What one shell holds while the extension is loaded: settings, orchestrator, conversations, budgets and background runs.

`NotebookSession` only puts the parts together; each part has its own file. The commands get the session and use its parts.
"""
