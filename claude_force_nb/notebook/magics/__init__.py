"""The IPython side: the extension, cells rewritten to be awaited, Stop."""
