"""The running cell as the kernel reports it, and how Stop ends it.

`cells` says which cell runs, `stopping` ends what a cell awaits, `waker` wakes the event loop for it. Every other room of the notebook may use them.
"""
