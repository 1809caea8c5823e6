"""The notebook experience, and the only room that knows IPython.

`magics` is the way into IPython, `options` reads what stands behind a magic, `commands` does it, `display` and `dashboard` show it. Nothing
outside imports from here but the package's ``load_ipython_extension`` and its command line.
"""
