"""The IPython side: the extension, the class of the magics, and cells rewritten to await them.

`extension` loads and unloads; `claude_magics` parses nothing itself and calls the commands. Only the package's ``load_ipython_extension`` uses it.
"""
