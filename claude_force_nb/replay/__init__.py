"""Notebooks run again from their answer files, and compared with what was saved.

`saved` reads a notebook and what its outputs say of their answers; `running` runs it frozen in a kernel of its own, `closed_kernel`, whose
sockets are closed; `comparing` says which cells changed; `auditing` holds shown answers against the file and the cache; `cli` and
`audit_cli` are the commands, `arguments` what they share. Others use the commands only. Nothing here imports IPython; nbclient is imported when a notebook is run.
"""
