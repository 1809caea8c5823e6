"""Render templates and values to the text of a prompt.

`template` renders ``{{ }}``, `expressions` compiles what is inside, and `plain` converts values to plain data. The
other modules turn values into text (`values`, `tables`, `filters`, `attachments`), fence it as data (`fences`) and
search it for phrases that read like instructions (`injection`, `injection_policy`). Other rooms use `template.render`,
`attachments` and `injection_policy`.
"""
