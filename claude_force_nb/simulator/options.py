"""The options of a simulator, shared by all ways to start it. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Optional, Tuple

__all__ = ["SimulatorOptions"]


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class SimulatorOptions:
    """Options of a simulator.

    Parameters
    ----------
    latency_seconds : float
        Wait before the first byte of an answer, >= 0.
    tokens_per_second : float, optional
        Speed of a stream; None sends the events of a stream without waiting.
    requests_per_minute, input_tokens_per_minute, output_tokens_per_minute : int, optional
        Rate limits of each model family; None means no limit and no such header.
    burst_seconds : float
        Size of the buckets, in seconds of refill: 60 lets a whole minute's allowance be used at once.
    context_window : int, optional
        Context window of all models in tokens; None for each model's own.
    accept_any_model : bool
        Answer requests to unknown models: retired ones with the rules of their time, others with no rules.
    extra_models : tuple of str
        Answer requests to these models in the same way. Otherwise a retired model is a 404, as in the API.
    new_account : bool
        Behave as for an account created after 30 August 2026, for which models from 5.5 on accept replayed thinking only in
        the conversation in which it was produced.
    answer_bytes : int, optional
        Fixed size of a text answer, for load tests; ``max_tokens`` still cuts it.
    batch_seconds : float
        Time that a message batch takes.
    log_size : int
        Number of most recent requests that are kept.
    retry_after_grace_seconds : float
        A call that arrives this soon after the first ``retry-after`` of its family was already on its way when the
        client read the header, and does not count as sent inside it.
    host : str
        A loopback address.
    port : int
        0 picks a free one.

    Raises
    ------
    ValueError
        If a value is out of its range, or `host` is not a loopback address.
    """

    latency_seconds: float = 0.0
    tokens_per_second: Optional[float] = None
    requests_per_minute: Optional[int] = None
    input_tokens_per_minute: Optional[int] = None
    output_tokens_per_minute: Optional[int] = None
    burst_seconds: float = 60.0
    context_window: Optional[int] = None
    accept_any_model: bool = False
    extra_models: Tuple[str, ...] = ()
    new_account: bool = False
    answer_bytes: Optional[int] = None
    batch_seconds: float = 0.5
    log_size: int = 1000
    retry_after_grace_seconds: float = 0.05
    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        # The command line passes a list.
        object.__setattr__(self, "extra_models", tuple(self.extra_models))
        # A simulator accepts any key and bills nobody. If reachable from elsewhere, it could be mistaken for the API.
        if not _loopback(self.host):
            raise ValueError(f"the simulator listens on loopback addresses only, not on {self.host!r}")
        for name in ("latency_seconds", "batch_seconds", "log_size", "retry_after_grace_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)!r}")
        for name in (
            "tokens_per_second",
            "requests_per_minute",
            "input_tokens_per_minute",
            "output_tokens_per_minute",
            "burst_seconds",
            "context_window",
            "answer_bytes",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value!r}")
