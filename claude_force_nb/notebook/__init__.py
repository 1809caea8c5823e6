"""The notebook extension, and the only room that imports IPython.

`magics` connects to IPython, `commands` has one file per magic, `session` holds the state of a shell, `options` reads lines
and settings, `display` and `dashboard` show results, `kernel` handles Stop. Outside, only ``load_ipython_extension`` and the
command line import from here.
"""
