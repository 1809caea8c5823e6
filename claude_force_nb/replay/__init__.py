"""Runs notebooks again from their answer files, and compares them with the saved outputs.

`saved` reads a notebook and the metadata of the answers in it. `running` runs it in frozen mode, in a `closed_kernel` without
network access. `comparing` finds the cells that changed; `auditing` checks shown answers against the answer file and the
cache. `cli` and `audit_cli` are the commands, with their shared code in `arguments`. Other rooms use only the commands.
Nothing here imports IPython; nbclient is imported when a notebook is run.
"""
