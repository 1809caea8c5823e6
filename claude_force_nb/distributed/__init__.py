"""Answers rows on a Dask cluster: each worker answers its partitions, and a coordinator on the scheduler shares resources.

The coordinator leases slots, parts of the rate limit and dollars to the workers, so that together they keep to the limits of
one orchestrator. Results are recorded in the ledger and cache of the client. Other rooms use `answer_frame`,
`answer_bag`, `answer_list` and `ClusterSettings`; this is the only room that imports dask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .answering import answer_bag as answer_bag
    from .answering import answer_frame as answer_frame
    from .answering import answer_list as answer_list
    from .settings import ClusterSettings as ClusterSettings

_LAZY_EXPORTS = {
    "ClusterSettings": "settings",
    "answer_bag": "answering",
    "answer_frame": "answering",
    "answer_list": "answering",
}
__all__ = [*sorted(_LAZY_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _LAZY_EXPORTS[name]
    try:
        value = getattr(import_module("." + module, __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise ImportError(f"{name} needs Dask: pip install 'claude_force_nb[dask]'") from None
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return [*globals(), *__all__]
