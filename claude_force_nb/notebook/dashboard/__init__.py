"""The live dashboard: `watching` gathers its numbers, `view` draws them, `panel` is the widget.

`watching` listens from the session's start, so that a dashboard opened later includes earlier calls; `panel` imports ipywidgets and is only
imported where one is opened. The session and ``%claude_dashboard`` use it.
"""
