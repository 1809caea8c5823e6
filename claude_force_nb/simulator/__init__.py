"""A strict Messages API on loopback, for the demo and for tests, load tests and fault tests.

`catalogue`, `prices` and the modules of rules hold the API's documentation as data of their own: nothing here is imported from what the client believes.
Others use `Simulator`, `SimulatorProcess` and `FAULT_KINDS`. Names are imported when they are first used, so that importing the package costs no aiohttp.
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
