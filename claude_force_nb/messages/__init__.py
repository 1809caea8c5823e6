"""What is sent and what comes back, as plain values.

A `request` has a fingerprint, a `result` has its text, `usage` and cost; `models` and `thinking` know what each model takes. Everything here
is pure and may be used by every room above.
"""
