"""The IPython side: the extension, the class of the magics, and the rewriting of cells that awaits them.

`extension` loads and unloads the extension; `claude_magics` passes each magic's line to its command. Only the package's
``load_ipython_extension`` uses this room.
"""
