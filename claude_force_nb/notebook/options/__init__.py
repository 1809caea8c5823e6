"""What may be written behind a magic, and where settings come from.

`table` is the one table of options: parsing, help, completion, settings and documentation come from it; `line` and `batch_line` read a
magic's line, `settings` finds a setting's value and says who set it. The other rooms of the notebook may use all of it.
"""
