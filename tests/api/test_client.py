"""The SDK's client of one event loop."""

from __future__ import annotations

from typing import Any, List

import pytest
from support.transports import request, result, transport

from claude_force_nb.api.client import LoopClient
from claude_force_nb.simulator import Simulator


def test_only_the_first_call_is_put_together_by_the_sdk(
    run: Any, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that follow are made alike, with their own body; the server sees no difference."""
    asked: List[str] = []
    real = LoopClient._ask

    async def ask(self: LoopClient, call: Any, options: Any) -> Any:
        asked.append(call.path)
        return await real(self, call, options)

    monkeypatch.setattr(LoopClient, "_ask", ask)

    async def main() -> List[str]:
        way = transport(simulator.url)
        try:
            return [result(await way.send(request(each), timeout_seconds=20)).text for each in ("a", "b", "c")]
        finally:
            await way.close()

    texts = run(main())
    assert asked == ["/v1/messages"]
    assert len(set(texts)) == 3
    seen = list(simulator.requests)
    assert [each.body["messages"][0]["content"] for each in seen] == ["a", "b", "c"]
    names = [{name.lower() for name, _ in each.headers.items()} for each in seen]
    assert names[1] == names[2]
    assert names[0] == names[1]
