"""Display output: MIME bundles with the same text as plain text, Markdown and HTML.

`answers`, `receipts`, `tables`, `batch_results` and the previews create bundles; `screen`, `progress` and `stop_button`
update the display while a call or batch runs. In none of them is text from a model live (no HTML, links to scripts or
LaTeX commands of its own). The commands and the dashboard use them.
"""
