"""What is shown: bundles of the same text as plain text, Markdown and HTML.

`answers`, `receipts`, `tables`, `batch_results` and the previews make them, `screen`, `progress` and `stop_button` show what moves. Nothing a
model said is live in any of them; the commands and the dashboard use them.
"""
