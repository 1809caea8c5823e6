"""Answers that fit a schema.

`answer` reads a schema and checks answers against it, `wire` is the schema as the API takes it, `repair` asks once more where an answer does not
fit. Others use `answer.schema_of` and `repair`.
"""
