"""Conversations, and the position of a cell in one.

`conversations.Memory` keeps the turns. Nothing here reads a clock, a file or the network. Other rooms use `Memory` and
`CellRun`.
"""
