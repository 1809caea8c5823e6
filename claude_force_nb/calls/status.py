"""Where a call is, for whoever shows it. Pure."""

from __future__ import annotations

__all__ = ["CallStatus"]


class CallStatus:
    """Where a call is; written by whoever makes it, read at any time and from any thread.

    Attributes
    ----------
    attempts : int
        Calls that were sent so far, those of a schema's repair included.
    in_flight : bool
        True while the API has the request and has not answered it.
    billing_unknown : bool
        True once a call was sent of which nobody can tell whether it was answered and billed.
    """

    __slots__ = ("attempts", "billing_unknown", "in_flight")

    def __init__(self) -> None:
        self.attempts = 0
        self.in_flight = False
        self.billing_unknown = False
