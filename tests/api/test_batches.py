"""The endpoints of message batches: what is sent, and what is made of the answers."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List

import pytest
from aiohttp import web
from support.transports import Handler, transport

from claude_force_nb.api.batches import ApiBatches, BatchInfo
from claude_force_nb.api.connections import Connections, HttpCall
from claude_force_nb.errors import MalformedAnswerError, NotFoundError

BATCH: Dict[str, Any] = {
    "id": "msgbatch_1",
    "processing_status": "in_progress",
    "created_at": "2026-11-01T12:00:00.123456Z",
    "request_counts": {"processing": 3, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 1},
}
NOON = 1_793_534_400.0


class Endpoint:
    """A server that answers everything with `answer` and `headers`, and the endpoints of batches on it."""

    def __init__(self, serve: Callable[[Handler], str], run: Any, times: List[float]) -> None:
        self.answer: Any = BATCH
        self.status = 200
        self.headers: Dict[str, str] = {}
        self.asked: List[str] = []
        self.times = times
        self._url = serve(self._handle)
        self._run = run

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        beta = incoming.headers.get("anthropic-beta", "")
        self.asked.append(" ".join([incoming.method, incoming.path_qs, beta]).strip())
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer, status=self.status, headers=self.headers)
        return web.json_response(self.answer, status=self.status, headers=self.headers)

    def run(self, work: Callable[[ApiBatches], Any]) -> Any:
        async def main() -> Any:
            way = transport(self._url)
            try:
                return await work(ApiBatches(way))
            finally:
                await way.close()

        return self._run(main())


@pytest.fixture
def endpoint(run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    times: List[float] = []
    real = Connections.open

    async def noted(self: Connections, call: HttpCall) -> Any:
        times.append(call.timeout_seconds)
        return await real(self, call)

    monkeypatch.setattr(Connections, "open", noted)
    return Endpoint(serve, run, times)


def test_a_batch_is_read(endpoint: Endpoint) -> None:
    """Invalid counts count as 0. Times are read to the second, in UTC, and are 0 if missing."""

    async def work(api: ApiBatches) -> None:
        endpoint.headers["retry-after"] = "7"
        info = await api.retrieve("msgbatch_1")
        assert info == BatchInfo("msgbatch_1", False, NOON, BATCH["request_counts"], 7.0)
        assert info.requests == 6
        counts = {"a": -1, "b": True, "c": 2}
        endpoint.answer = {
            **BATCH,
            "processing_status": "ended",
            "created_at": "soon",
            "request_counts": counts,
        }
        endpoint.headers.clear()
        assert await api.cancel("msgbatch_1") == BatchInfo("msgbatch_1", True, 0.0, {"c": 2}, None)
        await api.create(b'{"requests":[]}', api_version="2023-06-01", betas=("a", "b"))
        await api.create(b'{"requests":["' + b"x" * 1000 + b'"]}', api_version="2023-06-01", betas=())

    endpoint.run(work)
    assert endpoint.asked == [
        "GET /v1/messages/batches/msgbatch_1",
        "POST /v1/messages/batches/msgbatch_1/cancel",
        "POST /v1/messages/batches a,b",
        "POST /v1/messages/batches",
    ]
    # What is long takes its time to be sent.
    assert endpoint.times == [60.0, 60.0, 60.0, 900.0]


def test_a_page_of_the_list_is_read(endpoint: Endpoint) -> None:
    """The page has the server's own time, by which the next create is found. An empty page is always the last."""

    async def work(api: ApiBatches) -> None:
        endpoint.headers["Date"] = "Sun, 01 Nov 2026 12:00:00 GMT"
        endpoint.answer = {"data": [BATCH, {**BATCH, "id": "msgbatch_0"}], "has_more": True}
        page = await api.recent(limit=2)
        assert ([info.id for info in page.batches], page.more, page.now) == (["msgbatch_1", "msgbatch_0"], True, NOON)
        endpoint.headers["Date"] = "soon"
        endpoint.answer = {"data": [], "has_more": True}
        page = await api.recent(limit=5, after_id="x")
        assert (page.batches, page.more) == ((), False)
        assert abs(page.now - time.time()) < 60
        endpoint.answer = {"data": [BATCH], "has_more": "yes"}
        assert (await api.recent(limit=5)).more is False

    endpoint.run(work)
    assert endpoint.asked == [
        f"GET /v1/messages/batches?{query}" for query in ("limit=2", "limit=5&after_id=x", "limit=5")
    ]
    assert set(endpoint.times) == {60.0}


def test_what_is_not_a_batch_is_one_line(endpoint: Endpoint) -> None:
    """Its status is that of a response, so the create may have succeeded nevertheless."""
    wrong: List[Any] = [[], None, "x", 5, {}, {**BATCH, "request_counts": []}]
    wrong += [{**BATCH, "id": batch_id} for batch_id in (None, True, 5, [], "", "a/b")]

    async def work(api: ApiBatches) -> None:
        for answer in wrong:
            endpoint.answer = answer
            for call in (
                api.retrieve("msgbatch_1"),
                api.create(b"{}", api_version="2023-06-01", betas=()),
                api.recent(limit=1),
            ):
                with pytest.raises(MalformedAnswerError, match="check base_url") as raised:
                    await call
                assert raised.value.status == 200
                assert "\n" not in str(raised.value)
            endpoint.answer = {"data": [answer]}
            with pytest.raises(MalformedAnswerError, match="check base_url"):
                await api.recent(limit=1)

    endpoint.run(work)


def test_an_invalid_id_is_not_used_as_a_path(endpoint: Endpoint) -> None:
    """An invalid id causes no request."""

    async def work(api: ApiBatches) -> None:
        for batch_id in ("", "../files", "a/b", "a?b", "a b", "a\n", "-a", "é", "a" * 201):
            for call in (api.retrieve(batch_id), api.cancel(batch_id), api.results(batch_id).__anext__()):
                with pytest.raises(MalformedAnswerError, match="gave an invalid batch id") as raised:
                    await call
                assert raised.value.status == 200

    endpoint.run(work)
    assert endpoint.asked == []


def test_results_come_line_by_line(endpoint: Endpoint) -> None:
    """Blank lines are ignored, and the last line needs no line end."""
    endpoint.answer = b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}'

    async def results(api: ApiBatches) -> List[bytes]:
        return [line async for line in api.results("a" * 200)]

    assert [line.strip() for line in endpoint.run(results)] == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    assert endpoint.asked == [f"GET /v1/messages/batches/{'a' * 200}/results"]


def test_a_batch_that_is_not_there_is_named_as_the_cause(endpoint: Endpoint) -> None:
    """A 404 says what is likely at its endpoint: nothing about a model where none is sent."""
    endpoint.status, endpoint.answer = 404, {"type": "error", "error": {"type": "not_found_error", "message": "no"}}

    async def work(api: ApiBatches) -> None:
        for call, cause in (
            (api.retrieve("msgbatch_1"), "does not show this batch"),
            (api.cancel("msgbatch_1"), "does not show this batch"),
            (api.results("msgbatch_1").__anext__(), "does not show this batch"),
            (api.recent(limit=1), "no list of batches"),
            (api.create(b"{}", api_version="2023-06-01", betas=()), "model= and base_url"),
        ):
            with pytest.raises(NotFoundError, match=cause) as raised:
                await call
            assert "base_url" in str(raised.value)
            assert ("model=" in str(raised.value)) is (cause == "model= and base_url")

    endpoint.run(work)
