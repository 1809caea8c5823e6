"""The control endpoints, through which another process scripts faults and reads the counters.

::

    POST   /_simulator/faults      {"kinds": "overloaded", "probability": 0.1, …}, or a list of such rules
    DELETE /_simulator/faults      forget all rules
    GET    /_simulator/counters
    GET    /_simulator/requests    the last requests, the key masked
    POST   /_simulator/reset       forget everything
"""

from __future__ import annotations

from typing import Callable

from aiohttp import web

from .exchange import logged_requests
from .faults import FaultRule
from .nesting import load_body
from .state import ServerState

__all__ = ["control"]


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


async def control(state: ServerState, request: web.BaseRequest, reset: Callable[[], None]) -> web.Response:
    """Answer a control request; `reset` makes the server forget everything."""
    raw = await request.content.read()
    what = (request.method, request.path.rstrip("/").rpartition("/")[2])
    if what == ("GET", "counters"):
        return web.json_response(state.book.snapshot().to_json())
    if what == ("GET", "requests"):
        return web.json_response([logged._asdict() for logged in logged_requests(state)])
    if what == ("POST", "reset"):
        reset()
        return web.json_response({})
    if what == ("DELETE", "faults"):
        state.heal()
        return web.json_response({})
    if what == ("POST", "faults"):
        try:
            data = load_body(raw)
            rules = [FaultRule.from_json(rule) for rule in (data if isinstance(data, list) else [data])]
        except (ValueError, TypeError) as error:
            return _error(400, str(error))
        for rule in rules:
            state.faults.add(rule)
        return web.json_response({"rules": len(rules)})
    return _error(404, "the control endpoints are faults, counters, requests and reset")
