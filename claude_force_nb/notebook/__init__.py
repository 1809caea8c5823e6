"""The notebook experience, and the only room that knows IPython.

`magics` is the way into IPython, `commands` has one file a magic, `session` what a shell holds; `options` reads lines and settings, `display`
and `dashboard` show, `kernel` stops. Nothing outside imports from here but the package's ``load_ipython_extension`` and its command line.
"""
