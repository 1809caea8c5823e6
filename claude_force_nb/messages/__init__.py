"""What is sent and what comes back, as plain values.

A `request` has a fingerprint, a `result` has its text, `usage` and cost. `models` has what each model takes, `thinking` puts what a person asked for
into that form, and `checks` says what the API is known to refuse. Everything here is pure and may be used by every room above.
"""
