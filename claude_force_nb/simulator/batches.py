"""Message batches: half price, answered after a while, with results in any order."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Optional, Set

from aiohttp import web

from .additions import add_to_message
from .answers import make_answer
from .exchange import Exchange
from .failures import ApiFailure, error_body
from .faults import Fault
from .pages import page
from .prices import Terms
from .state import ServerState
from .validation import Headers

__all__ = ["Batches"]

_compact = json.JSONEncoder(separators=(",", ":")).encode
_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_MOST_REQUESTS = 100_000
_LIFETIME = timedelta(hours=24)
# Number of rows answered before control returns to the event loop.
_ROWS_AT_ONCE = 100
_BYTES_AT_ONCE = 256 * 1024


def _stamp(moment: Optional[datetime]) -> Optional[str]:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class _Batch:
    id: str
    rows: List[Dict[str, Any]]
    headers: Headers
    created: datetime = field(default_factory=_now)
    started: float = field(default_factory=time.monotonic)
    ended: Optional[datetime] = None
    cancelled: Optional[datetime] = None
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    results: List[bytes] = field(default_factory=list)
    counts: Dict[str, int] = field(
        default_factory=lambda: {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    )

    def to_api(self, url: str) -> Dict[str, Any]:
        counts = self.counts
        if self.ended is None:
            # The API reports the outcome of requests only once all have ended.
            counts = dict.fromkeys(counts, 0)
            counts["processing"] = self.counts["processing"]
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": "ended" if self.ended else "canceling" if self.cancelled else "in_progress",
            "request_counts": dict(counts),
            "created_at": _stamp(self.created),
            "expires_at": _stamp(self.created + _LIFETIME),
            "ended_at": _stamp(self.ended),
            "cancel_initiated_at": _stamp(self.cancelled),
            "archived_at": None,
            "results_url": f"{url}/v1/messages/batches/{self.id}/results" if self.ended else None,
        }


def _checked_rows(body: Any) -> List[Dict[str, Any]]:
    rows = body.get("requests") if isinstance(body, dict) else None
    if rows is None:
        raise ApiFailure(400, "requests: Field required")
    if not isinstance(rows, list) or not rows:
        raise ApiFailure(400, "requests: List should have at least 1 item after validation, not 0")
    if len(rows) > _MOST_REQUESTS:
        raise ApiFailure(400, f"requests: List should have at most {_MOST_REQUESTS} items")
    seen: Set[str] = set()
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("params"), dict):
            raise ApiFailure(400, f"requests.{number}.params: Field required")
        custom_id = row.get("custom_id")
        if not isinstance(custom_id, str) or not _CUSTOM_ID.match(custom_id):
            raise ApiFailure(400, f"requests.{number}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if custom_id in seen:
            raise ApiFailure(400, f"requests: custom_id {custom_id!r} is not unique")
        seen.add(custom_id)
    return rows


def batch_endpoint(method: str, rest: List[str]) -> str:
    """Return the endpoint name that fault rules use for a call to ``/v1/messages/batches``."""
    if not rest:
        return "batch_create" if method == "POST" else "batch_list"
    return {"results": "batch_results", "cancel": "batch_cancel"}.get(rest[-1], "batch_poll")


# Faults of a row's line in the results; the row itself is answered normally.
_OF_LINES = ("missing", "duplicate", "unknown")
# Faults of the answer itself.
_OF_ANSWERS = ("refusal", "refusal_midway", "wrong_json", "new_fields", "new_block", "new_stop_reason")


def _lines(custom_id: str, result: Dict[str, Any], fault: Optional[Fault]) -> List[bytes]:
    line = _compact({"custom_id": custom_id, "result": result}).encode("ascii") + b"\n"
    kind = "" if fault is None else fault.kind
    if kind == "missing":
        return []
    if kind == "duplicate":
        return [line, line]
    if kind == "unknown":
        return [line, line.replace(custom_id.encode("ascii"), custom_id[::-1].encode("ascii"), 1)]
    return [line]


class Batches:
    """All batches of a server; lists have the newest first."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._batches: Dict[str, _Batch] = {}
        self._tasks: Set[asyncio.Task[None]] = set()

    def reset(self) -> None:
        """Forget all batches, including those in progress."""
        self._batches.clear()
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """End the work in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def handle(self, exchange: Exchange, rest: List[str], body: Any, headers: Headers) -> web.Response:
        """Answer a call to ``/v1/messages/batches``; `rest` is the remainder of the path."""
        method = exchange.request.method
        url = self._state.url
        if not rest:
            if method == "POST":
                return exchange.json(self._create(body, headers).to_api(url))
            if method == "GET":
                newest_first = [batch.to_api(url) for batch in reversed(list(self._batches.values()))]
                return exchange.json(page(newest_first, exchange.query))
            raise ApiFailure(405, "Method Not Allowed")
        batch = self._find(rest[0])
        what = (method, *rest[1:])
        if what == ("GET",):
            return exchange.json(batch.to_api(url))
        if what == ("POST", "cancel"):
            if batch.ended is None and batch.cancelled is None:
                batch.cancelled = _now()
                batch.cancel.set()
            return exchange.json(batch.to_api(url))
        if what == ("DELETE",):
            if batch.ended is None:
                raise ApiFailure(400, f"Batch {batch.id} has not ended; cancel it first")
            del self._batches[batch.id]
            return exchange.json({"id": batch.id, "type": "message_batch_deleted"})
        raise ApiFailure(404, "Not Found")

    def _create(self, body: Any, headers: Headers) -> _Batch:
        rows = _checked_rows(body)
        batch = _Batch(self._state.next_id("msgbatch"), rows, headers)
        batch.counts["processing"] = len(rows)
        self._batches[batch.id] = batch
        task = asyncio.get_running_loop().create_task(self._process(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return batch

    async def _process(self, batch: _Batch) -> None:
        total = self._state.options.batch_seconds
        try:
            await asyncio.wait_for(batch.cancel.wait(), total)
        except asyncio.TimeoutError:
            pass
        rows, batch.rows = batch.rows, []
        answered = len(rows)
        if batch.cancelled is not None:
            # Rows processed before the cancellation are answered and billed.
            elapsed = time.monotonic() - batch.started
            answered = min(answered, int(answered * elapsed / total)) if total else answered
        for number, row in enumerate(rows):
            fault = self._state.faults.next("batch_item", row["params"]) if number < answered else None
            result = self._answer(batch, row["params"], fault) if number < answered else {"type": "canceled"}
            batch.counts[result["type"]] += 1
            batch.results += _lines(row["custom_id"], result, fault)
            if number % _ROWS_AT_ONCE == _ROWS_AT_ONCE - 1:
                await asyncio.sleep(0)
        random.Random(batch.id).shuffle(batch.results)
        batch.counts["processing"] = 0
        batch.ended = _now()

    def _answer(self, batch: _Batch, params: Dict[str, Any], fault: Optional[Fault]) -> Dict[str, Any]:
        state = self._state
        try:
            if fault is not None:
                state.book.faulted(fault.kind)
                if fault.kind == "expired":
                    return {"type": "expired"}
                if fault.kind not in (*_OF_ANSWERS, *_OF_LINES):
                    raise fault.failure()
            checked = state.validator.check(params, batch.headers, batch=True)
        except ApiFailure as failure:
            return {"type": "errored", "error": error_body(failure, state.next_id("req"))}
        use = self._state.look_up(checked)
        state.prompt_cache.keep(use)
        answer = make_answer(
            params, checked, use.usage, answer_bytes=state.options.answer_bytes, fault=fault, batch=True
        )
        if answer.billed:
            state.book.billed(answer.model.name, answer.usage, Terms.of(params, batch=True, fast=False))
        state.book.finished(answer.thinking_tokens, refused=answer.stop_reason == "refusal", in_batch=True)
        message = add_to_message(answer.message(state.next_id("msg")), answer.extra)
        return {"type": "succeeded", "message": message}

    def _find(self, batch_id: str) -> _Batch:
        batch = self._batches.get(batch_id)
        if batch is None:
            raise ApiFailure(404, "Batch not found: " + batch_id)
        return batch

    async def results(self, exchange: Exchange, batch_id: str, fault: Optional[Fault]) -> web.StreamResponse:
        """Send the results as JSON lines.

        The fault ``cut`` closes the connection inside a line after the first half; ``silent`` stops sending there.
        """
        cut = fault is not None and fault.kind in ("cut", "silent")
        batch = self._find(batch_id)
        if exchange.request.method != "GET":
            raise ApiFailure(405, "Method Not Allowed")
        if batch.ended is None:
            raise ApiFailure(404, f"Batch {batch.id} has no results yet: it has not ended")
        exchange.headers.append(("Content-Type", "application/x-jsonl"))
        response = exchange.stream()
        await response.prepare(exchange.request)
        lines = batch.results[: (len(batch.results) + 1) // 2] if cut else batch.results
        block: List[bytes] = []
        size = 0
        for line in lines:
            block.append(line)
            size += len(line)
            if size >= _BYTES_AT_ONCE:
                await response.write(b"".join(block))
                block, size = [], 0
        text = b"".join(block)
        await response.write(text[:-20] if cut else text)
        if cut:
            if fault is not None and fault.kind == "silent":
                await exchange.wait(None)
            exchange.drop()
        else:
            await response.write_eof()
        return response
