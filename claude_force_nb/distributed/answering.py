"""Answers the rows of Dask collections and plain lists on the workers of a cluster."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.reservation import parse_budget
from claude_force_nb.errors import OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.answer_columns import frame_parts
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.rows.sources import Source
from claude_force_nb.schemas.answer import schema_of

from .cluster import addresses, client_of, register
from .coordinator import Coordinator
from .frames import empty_frame, typed_like
from .receiver import ResultReceiver
from .row_run import RowRun
from .settings import ClusterSettings, RunSetup, check_secrets_may_travel
from .worker import RunOnWorker, run_here, topic

__all__ = ["answer_bag", "answer_frame", "answer_list"]


async def answer_frame(
    frame: Any,
    template: Optional[str] = None,
    *,
    client: Any = None,
    settings: Optional[ClusterSettings] = None,
    **options: Any,
) -> Any:
    """Return a Dask data frame with the answers next to its rows; nothing is sent before it is computed.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        The rows. Each partition is answered by the worker that holds it.
    template : str, optional
        A ``{{ }}`` template, the prompt of every row; without it the frame must have a single column, with the prompts.
    client : distributed.Client, optional
        The current client by default.
    settings : ClusterSettings, optional
        How calls are made, and where answers are kept.
    **options
        Options of `AsyncAgentOrchestrator.run_many`: those of each call, ``agent_column``, ``model_column``. ``budget``
        applies to the whole frame each time it is computed for the first time.

    Returns
    -------
    dask.dataframe.DataFrame
        The frame with the columns of `BatchResult.to_frame`: texts, ``cost`` as float64, parts of a schema as described in
        `frames.empty_frame`.

    Raises
    ------
    ConfigurationError or PromptError
        Like `run_many`; nothing is sent.
    """
    example = open_source(frame._meta_nonempty, name="the frame")
    run = await _begin(client, settings, template, options, example)
    empty = empty_frame(example, len(frame._meta_nonempty), _schema(options.get("schema")))
    return frame.map_partitions(functools.partial(_answer_partition, run=run, empty=empty), meta=empty)


async def answer_bag(
    bag: Any,
    template: Optional[str] = None,
    *,
    client: Any = None,
    settings: Optional[ClusterSettings] = None,
    **options: Any,
) -> Any:
    """Return a Dask bag with a `ClaudeResult` for each item; see `answer_frame`.

    Parameters
    ----------
    bag : dask.bag.Bag
        A bag of prompts; with `template`, of mappings of names to values, or of plain values, which the template knows
        as ``item``.
    """
    run = await _begin(client, settings, template, options, None)
    return bag.map_partitions(_answer_items, run)


async def answer_list(
    rows: Sequence[Any],
    template: Optional[str] = None,
    *,
    client: Any = None,
    settings: Optional[ClusterSettings] = None,
    **options: Any,
) -> BatchResult:
    """Answer the rows of a list, or any other source that `run_many` accepts, on the workers, and wait for all of them.

    Returns
    -------
    BatchResult
        The results in the order of the rows. Rows of a lost worker are answered by another one.
    """
    parties = _Parties.of(client, settings)
    _check(parties.home, options)
    source = open_source(rows, name="the list of prompts")
    own = {name: options.pop(name, None) for name in ("agent_column", "model_column")}
    source.take_options_from(**own)
    source.check(template, options.get("variables"))
    results: Dict[int, ClaudeResult] = {}
    await RowRun(parties.client, parties.home, parties.settings, results.__setitem__).answer(source, template, options)
    numbers = sorted(results)
    more = frame_parts(_schema(options.get("schema")))
    return BatchResult([results[number] for number in numbers], numbers=numbers, source=source, more=more)


@dataclass(frozen=True)
class _Parties:
    """The parties of a run: the cluster's client, the settings of its workers, and the client's own orchestrator."""

    client: Any
    settings: ClusterSettings
    home: AsyncAgentOrchestrator

    @classmethod
    def of(cls, client: Any, settings: Optional[ClusterSettings]) -> _Parties:
        client, settings = client_of(client), settings or ClusterSettings()
        check_secrets_may_travel(settings, addresses(client))
        return cls(client, settings, settings.at_home())


async def _begin(
    client: Any,
    settings: Optional[ClusterSettings],
    template: Optional[str],
    options: Mapping[str, Any],
    example: Optional[Source],
) -> str:
    """Check a run, and register it on the cluster; return its id."""
    parties = _Parties.of(client, settings)
    client, home = parties.client, parties.home
    sent = {name: value for name, value in options.items() if name != "budget"}
    _check(home, sent)
    if isinstance(sent.get("agent"), str):
        sent["agent"] = home.agents.find(sent["agent"])  # the agent's file is on this machine
    if example is not None:
        example.take_options_from(agent_column=options.get("agent_column"), model_column=options.get("model_column"))
        example.check(template, options.get("variables"))
    budget = _smallest(home, options)
    identifier = uuid.uuid4().hex[:12]
    agents = tuple(home.agents.list()) if options.get("agent_column") is not None else ()
    setup = RunSetup(identifier, parties.settings.travelling(), budget, template, sent, agents)
    ResultReceiver(home, keep=options.get("cache") != "off").watch(client, topic(identifier))
    most = parties.settings.max_concurrent
    await register(client, Coordinator(identifier, most, None if budget is None else str(budget)))
    await register(client, RunOnWorker(setup))
    return identifier


def _check(home: AsyncAgentOrchestrator, options: Mapping[str, Any]) -> None:
    """Raise the errors of `run_many` for these options, without sending anything."""
    calls = {name: value for name, value in options.items() if name not in ("agent_column", "model_column")}
    if CallOptions.of(calls).use_memory:
        raise OptionError(
            "a conversation needs its prompts in order, but rows are sent in any order; send the prompts one by one with run"
        )
    home.request("x", **{**calls, "variables": None})


def _smallest(home: AsyncAgentOrchestrator, options: Mapping[str, Any]) -> Optional[Decimal]:
    limits = [parse_budget(options.get("budget")), home.budget.left]
    return min((limit for limit in limits if limit is not None), default=None)


def _schema(schema: Any) -> Any:
    return None if schema is None else schema_of(schema)


def _answer_partition(frame: Any, run: str, empty: Any) -> Any:
    return typed_like(empty, run_here(run).answer(frame).to_frame()) if len(frame) else empty


def _answer_items(items: Iterable[Any], run: str) -> List[ClaudeResult]:
    rows = list(items)
    return list(run_here(run).answer(rows)) if rows else []
