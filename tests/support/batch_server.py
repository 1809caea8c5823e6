"""A server for message batches that does exactly what a test tells it to, over a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Optional

from aiohttp import web

__all__ = ["BatchServer", "answered"]


def answered(fingerprint: str, text: str = "yes", **fields: Any) -> Dict[str, Any]:
    """Return a line of results with an answer."""
    usage = {"input_tokens": 10, "output_tokens": 5}
    message = {
        "id": f"msg_{fingerprint[:8]}",
        "type": "message",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": usage,
        **fields,
    }
    return {"custom_id": fingerprint, "result": {"type": "succeeded", "message": message}}


class BatchServer:
    """Answers the endpoints of message batches; `handle` goes to the ``serve`` fixture.

    Attributes
    ----------
    on_create : callable
        Given the requests of a create, returns the answer, or None for a batch that is made and a connection that is closed.
    created : list of float
        Monotonic seconds of each create.
    downloads : list of str
        Ids of the batches whose results were asked for.
    """

    def __init__(self) -> None:
        self.batches: List[Dict[str, Any]] = []
        self.results: Dict[str, Callable[[], List[Any]]] = {}
        self.created: List[float] = []
        self.downloads: List[str] = []
        self.paths: List[str] = []
        self.on_create: Callable[[List[Any]], Optional[web.Response]] = self.make

    def add(
        self, batch_id: str, requests: int, *, ended: bool = True, visible_after_seconds: float = 0.0
    ) -> Dict[str, Any]:
        """Add a batch to the list, in which it appears after a while."""
        batch = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": {"processing": 0 if ended else requests, "succeeded": requests if ended else 0},
            "created_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "_from": time.monotonic() + visible_after_seconds,
        }
        self.batches.insert(0, batch)
        return batch

    def make(self, requests: List[Any], **options: Any) -> web.Response:
        """Create a batch whose results answer all requests."""
        batch = self.add(f"msgbatch_{len(self.batches)}", len(requests), **options)
        lines = [answered(each["custom_id"]) for each in requests]
        self.results.setdefault(batch["id"], lambda: lines)
        return web.json_response(batch)

    async def handle(self, incoming: web.Request) -> web.StreamResponse:
        """Answer one call."""
        self.paths.append(incoming.path)
        rest = incoming.path.split("/")[4:]
        if not rest and incoming.method == "POST":
            self.created.append(time.monotonic())
            answer = self.on_create(json.loads(await incoming.read())["requests"])
            if answer is None and incoming.transport is not None:
                incoming.transport.close()
                await asyncio.sleep(0)
            # Without attributes of its own a response is false in older aiohttp.
            return web.Response(status=500) if answer is None else answer
        if not rest:
            seen = [each for each in self.batches if each["_from"] <= time.monotonic()]
            ids = [each["id"] for each in seen]
            after = incoming.query.get("after_id")
            start = ids.index(after) + 1 if after in ids else 0
            page = seen[start : start + int(incoming.query["limit"])]
            return web.json_response({"data": page, "has_more": start + len(page) < len(seen)})
        batch = next(each for each in self.batches if each["id"] == rest[0])
        if rest[1:] == ["results"]:
            self.downloads.append(rest[0])
            return web.Response(body="".join(json.dumps(line) + "\n" for line in self.results[rest[0]]()))
        if rest[1:] == ["cancel"]:
            batch["processing_status"] = "canceling"
        return web.json_response(batch)
