"""The running cell as the kernel reports it, and how Stop ends it.

`cells` identifies the running cell, `stopping` ends what it awaits, `waker` wakes the event loop for that. All other
rooms of the notebook may use them.
"""
