"""What a run needs of a Dask client, whatever its version and wherever its loop runs."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Coroutine, Dict, Iterable, Mapping

from distributed import Client, default_client

from claude_force_nb.errors import ClaudeForceError, OptionError

from .coordinator import Coordinator, handler_name

__all__ = [
    "addresses", "ask_coordinator", "await_in_loop", "client_of", "compute", "lost_connection", "register", "settled", "threads",
]  # fmt: skip


def client_of(client: Any) -> Client:
    """Return a client, the one in use where none is given.

    Raises
    ------
    OptionError
        If it is something else, or none is in use.
    """
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


def addresses(client: Any) -> Iterable[str]:
    """Give the addresses of the scheduler and of all workers."""
    yield client.scheduler.address
    yield from _workers(client)


def threads(client: Any) -> int:
    """Return how many threads all workers have, at least 1."""
    return sum(info["nthreads"] for info in _workers(client).values()) or 1


def _workers(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what the scheduler tells of all workers; newer versions tell of five where nothing is said."""
    everything = {"n_workers": -1} if "n_workers" in inspect.signature(client.scheduler_info).parameters else {}
    workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info(**everything)["workers"]
    return workers


async def compute(client: Any, collection: Any) -> Any:
    """Return what a frame, a series or a bag of Dask has, computed on the cluster."""

    async def gathered() -> Any:
        return (await client.gather([future], asynchronous=True))[0]

    future = client.compute(collection)
    try:
        return await await_in_loop(client, gathered())
    finally:
        future.release()


async def await_in_loop(client: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Await in the client's own loop, which is that of an asynchronous client's caller and one in a thread otherwise."""
    loop = client.loop.asyncio_loop
    if loop is asyncio.get_running_loop():
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


async def ask_coordinator(client: Any, run: str, **message: Any) -> Dict[str, Any]:
    """Ask the coordinator of a run; see `Coordinator.handle`."""
    answer: Dict[str, Any] = await await_in_loop(client, getattr(client.scheduler, handler_name(run))(**message))
    return answer


async def register(client: Any, plugin: Any) -> None:
    """Give a plugin to the cluster, in the way of this version of distributed."""
    if hasattr(client, "register_plugin"):
        await settled(client.register_plugin(plugin, name=plugin.name))
    elif isinstance(plugin, Coordinator):
        await settled(client.register_scheduler_plugin(plugin, name=plugin.name))
    else:
        await settled(client.register_worker_plugin(plugin, name=plugin.name))


async def settled(value: Any) -> Any:
    """Return what a client gives, which an asynchronous one gives as an awaitable."""
    return await value if inspect.isawaitable(value) else value


def lost_connection(reason: str) -> ClaudeForceError:
    """Return the error of a run whose scheduler is gone."""
    return ClaudeForceError(
        f"the connection to the cluster is lost ({reason}); start it anew and run again to continue: what was answered is kept"
    )
