"""From a template and its values to the text that is sent.

`template` renders ``{{ }}``, whose `expressions` it compiles; `plain` converts values to plain data; the other modules turn values into text (`values`, `tables`, `filters`, `attachments`), fence it as data (`fences`) and look for
phrases that read like instructions (`injection`, `injection_policy`). Others use `template.render`, `attachments` and `injection_policy`.
"""
