"""Answers that conform to a schema.

`answer` reads a schema and checks answers against it, `wire` converts the schema to the API's form, and `repair` asks
once more if an answer does not conform. Other rooms use `answer.schema_of` and `repair`.
"""
