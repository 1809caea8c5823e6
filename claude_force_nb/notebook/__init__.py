"""The notebook experience, and the only room that knows IPython.

`magics` connects to IPython, `commands` has one file per magic, `session` holds the state of a shell; `options` reads lines and settings,
`display` and `dashboard` show results, `kernel` handles Stop. Nothing outside imports from here but the package's ``load_ipython_extension`` and its command line.
"""
