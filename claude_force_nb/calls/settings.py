"""The settings of an orchestrator in groups, validated when they are given."""

from __future__ import annotations

import os
from collections import abc
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from numbers import Number
from typing import Any, Callable, Mapping, Optional, Tuple, Union

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.answers import AnswerFile, RecordedAnswers
from claude_force_nb.api.transport import Transport
from claude_force_nb.cache import RecordKeys, ResponseCache, record_keys
from claude_force_nb.costs.budget import Budget, DailyBudget
from claude_force_nb.costs.ledger import Ledger, default_ledger_path
from claude_force_nb.costs.pricing import PriceTable, load_prices
from claude_force_nb.errors import OptionError
from claude_force_nb.memory.conversations import Memory
from claude_force_nb.vocabulary import whole_number_fault

from .options import CallOptions

__all__ = ["Accounts", "CacheSettings", "CallSettings", "check_arguments", "check_whole_number"]

AnyBudget = Union[Budget, DailyBudget]

_PATH = (str, os.PathLike)
# For each argument: the types it accepts besides None, what to call them, and a hint for a user who passed something
# else.
_ARGUMENTS: Mapping[str, Tuple[Tuple[Any, ...], str, str]] = {
    "cache": (
        (ResponseCache,),
        "a ResponseCache or None",
        "enable_cache=False for none, cache_dir= for a folder, cache_url= for a server",
    ),
    "cache_dir": (_PATH, "a path", ""),
    "cache_ttl_hours": ((Number,), "a number of hours", ""),
    "cache_max_size_mb": ((Number,), "a number of megabytes", ""),
    "answers": ((AnswerFile, *_PATH), "a path or an AnswerFile", ""),
    "answers_mode": ((str,), "text", ""),
    "base_url": ((str,), "text", ""),
    "transport": (
        (Transport,),
        "an object with the methods of api.transport.Transport, or None",
        "testing.FakeTransport is one",
    ),
    "agents": ((AgentLibrary,), "an AgentLibrary or None", "AgentLibrary(folder) for the agents in a folder"),
    "memory": (
        (Memory,),
        "a Memory or None",
        "Memory() for conversations of its own; use_memory= of a call says whether they are used",
    ),
    "prices": ((PriceTable,), "a PriceTable or None", "load_prices().with_overrides({...}) for prices of your own"),
    "budget": ((Budget, Number, str), "an amount of US dollars, a Budget or None", ""),
    "daily_budget": ((DailyBudget, Number, str), "an amount of US dollars, a DailyBudget or None", ""),
    "max_concurrent": ((Number,), "a whole number", ""),
    "max_retries": ((Number,), "a whole number", ""),
    "on_event": ((abc.Callable,), "a function or None", ""),
    "environ": ((abc.Mapping,), "a mapping, such as os.environ", ""),
    "template": ((str,), "text", ""),
    "on_result": ((abc.Callable,), "a function or None", ""),
    "via": ((str,), "text", ""),
    "into": (_PATH, "a path", ""),
    "agent_column": ((str,), "the name of a column", ""),
    "model_column": ((str,), "the name of a column", ""),
}


def check_whole_number(value: int, name: str, least: int) -> int:
    """Return `value`; raise OptionError if it is not a whole number >= `least`."""
    fault = whole_number_fault(value, name, least)
    if fault:
        raise OptionError(fault)
    return value


def check_arguments(given: Mapping[str, Any]) -> None:
    """Raise OptionError if an argument of an orchestrator or of a run is neither None nor of a type in `_ARGUMENTS`.

    Other arguments, which are checked where they are used, may be among those given.
    """
    for name, (kinds, expected, remedy) in _ARGUMENTS.items():
        value = given.get(name)
        if value is not None and not isinstance(value, kinds):
            hint = f"; {remedy}" if remedy else ""
            # Never show the value, which may be an address with a password, or too deeply nested to be shown.
            raise OptionError(f"{name} must be {expected}, not of type {type(value).__name__}{hint}")


@dataclass(frozen=True)
class CallSettings:
    """Settings and defaults of calls; see `AsyncAgentOrchestrator` for each.

    Raises
    ------
    OptionError
        If a value is out of bounds.
    """

    max_concurrent: int
    max_retries: int
    timeout_seconds: float
    default_model: str
    default_max_tokens: int

    def __post_init__(self) -> None:
        CallOptions(timeout_seconds=self.timeout_seconds)
        check_whole_number(self.max_concurrent, "max_concurrent", 1)
        check_whole_number(self.max_retries, "max_retries", 0)


@dataclass(frozen=True)
class CacheSettings:
    """Settings of the cache; see `ResponseCache` for each."""

    folder: Optional[Union[str, os.PathLike[str]]]
    ttl_hours: float
    max_size_mb: float
    secret: Optional[str]
    url: Optional[str]

    def open(self, environ: Mapping[str, str]) -> ResponseCache:
        """Return a cache with these settings."""
        return ResponseCache(
            self.folder,
            ttl_hours=self.ttl_hours,
            max_size_mb=self.max_size_mb,
            secret=self.secret,
            environ=environ,
            url=self.url,
        )


@dataclass(frozen=True)
class Accounts:
    """Where answers are stored, and how they are priced, budgeted and recorded.

    Attributes
    ----------
    cache : ResponseCache or None
    answers : RecordedAnswers or None
        The answer file, which is read before the cache.
    record_keys : callable
        Returns the keys that sign the rows of a results file, derived from the cache secret; raises SecretError if
        there are none.
    prices : PriceTable
    budget : Budget
        The orchestrator's own budget; unlimited by default.
    daily_budget : DailyBudget or None
        The budget that all kernels share.
    ledger : Ledger or None
    notebook : str or None
        Name for the ledger.
    allow_unknown_price : bool
        See `Budget`.
    owns_cache, owns_daily_budget : bool
        Whether to close them with the orchestrator.
    """

    cache: Optional[ResponseCache]
    answers: Optional[RecordedAnswers]
    record_keys: Callable[[], RecordKeys]
    prices: PriceTable
    budget: Budget
    daily_budget: Optional[DailyBudget]
    ledger: Optional[Ledger]
    notebook: Optional[str]
    allow_unknown_price: bool
    owns_cache: bool
    owns_daily_budget: bool

    @classmethod
    def open(
        cls,
        *,
        cache: Union[ResponseCache, CacheSettings, None],
        answers: Optional[RecordedAnswers],
        cache_secret: Optional[str],
        prices: Optional[PriceTable],
        budget: Union[Budget, Decimal, float, str, None],
        daily_budget: Union[DailyBudget, Decimal, float, str, None],
        ledger: Union[Ledger, str, None],
        notebook: Optional[str],
        allow_unknown_price: bool,
        environ: Mapping[str, str],
        local: bool,
    ) -> Accounts:
        """Create every object that was not passed.

        The arguments are those of `AsyncAgentOrchestrator`, except that `cache` may be the settings of a cache to open.
        `local` says that the server is on this machine; see `default_ledger_path`.
        """
        owns_cache, owns_daily_budget = isinstance(cache, CacheSettings), not isinstance(daily_budget, DailyBudget)
        default = isinstance(ledger, str) and ledger == "default"
        # The worker of a cluster has another object that records.
        if not (ledger is None or default or hasattr(ledger, "append_many")):
            raise OptionError('ledger must be a Ledger, None or "default"; Ledger(path) is one in a file of your own')
        book = Ledger(default_ledger_path(environ, local=local)) if isinstance(ledger, str) else ledger
        if daily_budget is not None and not isinstance(daily_budget, DailyBudget):
            path = default_ledger_path(environ, local=local) if book is None else book.path
            daily_budget = DailyBudget(daily_budget, path, allow_unknown_price=allow_unknown_price)
        if not isinstance(budget, Budget):
            budget = Budget(budget, allow_unknown_price=allow_unknown_price)
        kept = cache.open(environ) if isinstance(cache, CacheSettings) else cache
        return cls(
            cache=kept,
            answers=answers,
            record_keys=partial(record_keys, cache_secret, environ) if kept is None else kept.record_keys,
            prices=prices or load_prices(),
            budget=budget,
            daily_budget=daily_budget,
            ledger=book,
            notebook=notebook,
            allow_unknown_price=allow_unknown_price,
            owns_cache=owns_cache,
            owns_daily_budget=owns_daily_budget,
        )

    @property
    def budgets(self) -> Tuple[Optional[AnyBudget], ...]:
        """The budgets that every call must fit; the slowest to check comes last."""
        return (self.budget, self.daily_budget)

    def run_budget(self, options: CallOptions) -> Optional[Budget]:
        """Return the budget of one run, which applies in addition to the general ones; None if it has none."""
        if options.budget is None or isinstance(options.budget, Budget):
            return options.budget
        return Budget(options.budget, allow_unknown_price=self.allow_unknown_price)

    def close(self) -> None:
        """Close the files that were opened here, and the ledger; save the answer file."""
        if self.answers is not None:
            self.answers.file.flush()
        if self.cache is not None and self.owns_cache:
            self.cache.close()
        if self.daily_budget is not None and self.owns_daily_budget:
            self.daily_budget.close()
        if self.ledger is not None:
            self.ledger.close()
