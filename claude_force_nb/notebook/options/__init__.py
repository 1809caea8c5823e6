"""Options on a magic's line, and settings.

`table` is the single table of options, from which parsing, help, completion, settings and documentation are derived. `line`
and `batch_line` parse a magic's line; `settings` looks up a setting's value and who set it. All other rooms of the
notebook may use this one.
"""
