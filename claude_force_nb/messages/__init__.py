"""Requests and results as plain values.

A `request` has a fingerprint; a `result` has its text, `usage` and cost; `models` and `thinking` know what each model
accepts. Everything here is pure, and every room above may use it.
"""
