"""The commands behind the magics: one file per magic, whose function takes the session and the magic's line.

A command returns a bundle for the magic to show, or the value of the cell; `batch_run` and `background_run` run a batch. Only
`magics` uses this room.
"""
