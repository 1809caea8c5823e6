"""Conversations, and the place that a cell has in one.

`conversations.Memory` keeps the turns; nothing here reads a clock, a file or the network. Others use `Memory` and `CellRun`.
"""
