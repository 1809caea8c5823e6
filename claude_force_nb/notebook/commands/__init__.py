"""What each magic does: one file per magic, which takes the session and the magic's line.

A command returns a bundle for the magic to show, or the value of the cell; `batch_run` and `background_run` carry a batch out. Only `magics` uses it.
"""
