"""The live dashboard: `watching` collects its numbers, `view` arranges them, `drawing` renders them, `panel` is the widget.

`watching` listens from the start of the session, so that a dashboard opened later includes earlier calls. `panel` imports
ipywidgets, and is imported only when a dashboard is opened. The session and ``%claude_dashboard`` use this room.
"""
