"""The rows of Dask collections and of plain lists, answered by the workers of a cluster."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import math
import uuid
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Coroutine, Dict, Iterable, List, Mapping, Optional, Sequence

from distributed import Client, KilledWorker, default_client

from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.reservation import parse_budget
from claude_force_nb.errors import ClaudeForceError, OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.rows.answer_columns import frame_parts
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult
from claude_force_nb.rows.sources import Source
from claude_force_nb.schemas.answer import schema_of

from .coordinator import Coordinator, handler_name
from .frames import empty_frame, typed_like
from .receiver import ResultReceiver
from .settings import ClusterSettings, RunSetup, check_secrets_may_travel
from .worker import RunOnWorker, run_here, topic

__all__ = ["answer_bag", "answer_frame", "answer_list"]

# A list is cut into so many parts for each thread of the cluster, so that no worker waits for a last long one.
_PARTS_A_THREAD = 4
_MOST_ROWS_A_PART = 1000


async def answer_frame(
    frame: Any,
    template: Optional[str] = None,
    *,
    client: Any = None,
    settings: Optional[ClusterSettings] = None,
    **options: Any,
) -> Any:
    """Return a Dask data frame with the answers beside its rows; nothing is asked before it is computed.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        Its partitions are answered one by one, each by the worker that has it.
    template : str, optional
        A ``{{ }}`` template, the prompt of every row; without it the frame has one column, of prompts.
    client : distributed.Client, optional
        The one in use by default.
    settings : ClusterSettings, optional
        How calls are made, and where answers are kept.
    **options
        Of `AsyncAgentOrchestrator.run_many`: those of each call, ``agent_column``, ``model_column``. ``budget`` is that of the
        whole frame each time it is computed for the first time.

    Returns
    -------
    dask.dataframe.DataFrame
        With the columns of `BatchResult.to_frame`: texts, ``cost`` float64, parts of a schema as `frames.empty_frame` says.

    Raises
    ------
    ConfigurationError or PromptError
        Where `run_many` would; nothing is sent.
    """
    example = open_source(frame._meta_nonempty, name="the frame")
    run = await _begin(client, settings, template, options, example)
    empty = empty_frame(example, len(frame._meta_nonempty), _schema(options.get("schema")))
    return frame.map_partitions(functools.partial(_answer_partition, run=run.identifier, empty=empty), meta=empty)


async def answer_bag(
    bag: Any,
    template: Optional[str] = None,
    *,
    client: Any = None,
    settings: Optional[ClusterSettings] = None,
    **options: Any,
) -> Any:
    """Return a Dask bag of `ClaudeResult`, one for each item; see `answer_frame`.

    Parameters
    ----------
    bag : dask.bag.Bag
        Of prompts, or with `template` of mappings of names to values, or of plain values, which it knows as ``item``.
    """
    run = await _begin(client, settings, template, options, None)
    return bag.map_partitions(_answer_items, run.identifier)


async def answer_list(
    rows: Sequence[Any],
    template: Optional[str] = None,
    *,
    client: Any = None,
    settings: Optional[ClusterSettings] = None,
    **options: Any,
) -> BatchResult:
    """Answer the rows of a list, or of anything else that `run_many` takes, on the workers, and wait for all of them.

    Returns
    -------
    BatchResult
        In the order of the rows. Rows that a lost worker had are answered by another one.
    """
    source = open_source(rows, name="the list of prompts")
    run = await _begin(client, settings, template, options, source)
    everything = [row for _, row in source.in_memory()]
    threads = sum(info["nthreads"] for info in _workers(run.client).values()) or 1
    size = min(_MOST_ROWS_A_PART, max(1, math.ceil(len(everything) / (threads * _PARTS_A_THREAD))))
    parts = [everything[start : start + size] for start in range(0, len(everything), size)]
    results = await run.compute(parts)
    return BatchResult(results, source=source, more=frame_parts(_schema(options.get("schema"))))


@dataclass
class _Run:
    """A run that the cluster has been told of."""

    identifier: str
    client: Any
    home: AsyncAgentOrchestrator

    async def compute(self, parts: Sequence[Sequence[Any]]) -> List[ClaudeResult]:
        futures = self.client.map(functools.partial(_answer_items, run=self.identifier), parts, pure=False)
        try:
            gathered: List[List[ClaudeResult]] = await _in_loop(self.client, self._gather(futures))
        except asyncio.CancelledError:
            if self.client.status != "running":  # older versions say it in this way
                raise _lost("CancelledError") from None
            await self.stop()
            await _finish(self.client.cancel(futures))
            raise
        except KilledWorker:
            raise ClaudeForceError(
                "the cluster gave up some rows, since the workers that had them were lost again and again; run again to"
                " continue: what was answered is kept"
            ) from None
        except (OSError, concurrent.futures.CancelledError, TimeoutError) as error:
            raise _lost(type(error).__name__) from None
        return [result for part in gathered for result in part]

    async def _gather(self, futures: Sequence[Any]) -> List[List[ClaudeResult]]:
        results: List[List[ClaudeResult]] = await self.client.gather(futures, asynchronous=True)
        return results

    async def stop(self) -> None:
        """Have all workers stop; what has been answered is kept."""
        await _finish(self.client.run_on_scheduler(_stop, handler_name(self.identifier)))


def _lost(reason: str) -> ClaudeForceError:
    return ClaudeForceError(
        f"the connection to the cluster is lost ({reason}); start it anew and run again to continue: what was answered is kept"
    )


async def _begin(
    client: Any,
    settings: Optional[ClusterSettings],
    template: Optional[str],
    options: Mapping[str, Any],
    example: Optional[Source],
) -> _Run:
    """Check a run, and tell the cluster of it."""
    client = _client_of(client)
    settings = settings or ClusterSettings()
    check_secrets_may_travel(settings, _addresses(client))
    home = settings.at_home()
    sent = _resolved(home, options)
    if example is not None:
        example.take_options_from(agent_column=options.get("agent_column"), model_column=options.get("model_column"))
        example.check(template, options.get("variables"))
    budget = _smallest(home, options)
    identifier = uuid.uuid4().hex[:12]
    travelling = replace(settings, ledger=None, agents=None, notebook=None, budget=None)
    agents = tuple(home.agents.list()) if options.get("agent_column") is not None else ()
    setup = RunSetup(identifier, travelling, budget, template, sent, agents)
    ResultReceiver(home).watch(client, topic(identifier))
    await _register(client, Coordinator(identifier, settings.max_concurrent, None if budget is None else str(budget)))
    await _register(client, RunOnWorker(setup))
    return _Run(identifier, client, home)


def _resolved(home: AsyncAgentOrchestrator, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the options as they are sent: with the agent itself, since its file lies here."""
    sent = {name: value for name, value in options.items() if name != "budget"}
    calls = {name: value for name, value in sent.items() if name not in ("agent_column", "model_column")}
    if CallOptions.of(calls).use_memory:
        raise OptionError("a conversation has an order and the rows of a run have none; ask with run, one by one")
    if isinstance(sent.get("agent"), str):
        sent["agent"] = home.agents.find(sent["agent"])
    home.request("x", **{**calls, "variables": None})
    return sent


def _smallest(home: AsyncAgentOrchestrator, options: Mapping[str, Any]) -> Optional[Decimal]:
    limits = [parse_budget(options.get("budget")), home.budget.left]
    return min((limit for limit in limits if limit is not None), default=None)


def _addresses(client: Any) -> Iterable[str]:
    yield client.scheduler.address
    yield from _workers(client)


def _workers(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what the scheduler tells of all workers; newer versions tell of five where nothing is said."""
    everything = {"n_workers": -1} if "n_workers" in inspect.signature(client.scheduler_info).parameters else {}
    workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info(**everything)["workers"]
    return workers


def _client_of(client: Any) -> Client:
    if client is not None:
        if not isinstance(client, Client):
            raise OptionError(f"client= needs a Client of dask.distributed, not {type(client).__name__}")
        return client
    try:
        found: Client = default_client()
        return found
    except ValueError:
        raise OptionError(
            "no Dask cluster is in use; start one on this machine with: from distributed import Client; client = Client()"
        ) from None


async def _in_loop(client: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Await in the client's own loop, which is that of an asynchronous client's caller and one in a thread otherwise."""
    loop = client.loop.asyncio_loop
    if loop is asyncio.get_running_loop():
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


async def _register(client: Any, plugin: Any) -> None:
    """Give a plugin to the cluster, in the way of this version of distributed."""
    if hasattr(client, "register_plugin"):
        await _finish(client.register_plugin(plugin, name=plugin.name))
    elif isinstance(plugin, Coordinator):
        await _finish(client.register_scheduler_plugin(plugin, name=plugin.name))
    else:
        await _finish(client.register_worker_plugin(plugin, name=plugin.name))


async def _finish(value: Any) -> Any:
    """Return what a client gives, which an asynchronous one gives as an awaitable."""
    return await value if inspect.isawaitable(value) else value


async def _stop(name: str, dask_scheduler: Any) -> None:
    await dask_scheduler.handlers[name](act="stop")


def _schema(schema: Any) -> Any:
    return None if schema is None else schema_of(schema)


def _answer_partition(frame: Any, run: str, empty: Any) -> Any:
    return typed_like(empty, run_here(run).answer(frame).to_frame()) if len(frame) else empty


def _answer_items(items: Iterable[Any], run: str) -> List[ClaudeResult]:
    rows = list(items)
    return list(run_here(run).answer(rows)) if rows else []
