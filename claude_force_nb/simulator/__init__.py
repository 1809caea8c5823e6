"""A strict Messages API on loopback, for the demo and for tests, load tests and fault tests.

`catalogue`, `prices` and the rule modules hold the API's documentation as data of their own, independent of the client's.
Other rooms use `Simulator`, `SimulatorProcess` and `FAULT_KINDS`, which are imported on first use, so that importing this
room does not import aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from .counters import Counters
    from .exchange import LoggedRequest
    from .faults import FAULT_KINDS
    from .options import SimulatorOptions
    from .process import SimulatorProcess
    from .simulator import Simulator

__all__ = ["FAULT_KINDS", "Counters", "LoggedRequest", "Simulator", "SimulatorOptions", "SimulatorProcess"]

_LAZY_EXPORTS = {
    "FAULT_KINDS": "faults",
    "Counters": "counters",
    "LoggedRequest": "exchange",
    "Simulator": "simulator",
    "SimulatorOptions": "options",
    "SimulatorProcess": "process",
}


def __getattr__(name: str) -> Any:
    module = _LAZY_EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("." + module, __name__), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
