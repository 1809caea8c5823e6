"""Answers that fit a schema.

`answer` reads a schema and checks answers against it, `references` and `wrappers` find what it refers to and what it is wrapped in, `wire` is the
schema as the API takes it, and `repair` asks once more where an answer does not fit. Others use `answer.schema_of` and `repair`.
"""
