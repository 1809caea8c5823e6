"""Functions on a Dask client that work with all versions, and wherever the client's event loop runs."""

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
    """Return the client, or the current one if None is given.

    Raises
    ------
    OptionError
        If the value is not a client, or there is no current one.
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
    """Yield the addresses of the scheduler and of all workers."""
    yield client.scheduler.address
    yield from _workers(client)


def threads(client: Any) -> int:
    """Return the total number of threads of all workers, at least 1."""
    return sum(info["nthreads"] for info in _workers(client).values()) or 1


def _workers(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return the scheduler's information about all workers; newer versions return only five workers by default."""
    everything = {"n_workers": -1} if "n_workers" in inspect.signature(client.scheduler_info).parameters else {}
    workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info(**everything)["workers"]
    return workers


async def compute(client: Any, collection: Any) -> Any:
    """Compute a Dask frame, series or bag on the cluster, and return the result."""

    async def gathered() -> Any:
        return (await client.gather([future], asynchronous=True))[0]

    future = client.compute(collection)
    try:
        return await await_in_loop(client, gathered())
    finally:
        future.release()


async def await_in_loop(client: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Await on the client's event loop: the caller's for an asynchronous client, otherwise one in another thread."""
    loop = client.loop.asyncio_loop
    if loop is asyncio.get_running_loop():
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


async def ask_coordinator(client: Any, run: str, **message: Any) -> Dict[str, Any]:
    """Send a message to the coordinator of a run, and return its answer; see `Coordinator.handle`."""
    answer: Dict[str, Any] = await await_in_loop(client, getattr(client.scheduler, handler_name(run))(**message))
    return answer


async def register(client: Any, plugin: Any) -> None:
    """Register a plugin on the cluster, with the API of the installed version of distributed."""
    if hasattr(client, "register_plugin"):
        await settled(client.register_plugin(plugin, name=plugin.name))
    elif isinstance(plugin, Coordinator):
        await settled(client.register_scheduler_plugin(plugin, name=plugin.name))
    else:
        await settled(client.register_worker_plugin(plugin, name=plugin.name))


async def settled(value: Any) -> Any:
    """Return a value from a client, awaiting it if the client is asynchronous."""
    return await value if inspect.isawaitable(value) else value


def lost_connection(reason: str) -> ClaudeForceError:
    """Return the error for a run that has lost the connection to its scheduler."""
    return ClaudeForceError(
        f"the connection to the cluster was lost ({reason}); restart it and run again to continue; earlier answers are kept"
    )
