"""Answers that fit a schema.

`answer` reads a schema and checks answers against it, `wire` converts the schema to the API's form, `repair` asks once more if an answer does not
fit. Others use `answer.schema_of` and `repair`.
"""
