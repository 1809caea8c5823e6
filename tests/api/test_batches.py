"""The endpoints of message batches: what is sent, and what is made of the answers."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List

import pytest
from aiohttp import web
from support.transports import Handler, transport

from claude_force_nb.api.batches import BatchInfo, SdkBatches
from claude_force_nb.errors import MalformedAnswerError

BATCH: Dict[str, Any] = {
    "id": "msgbatch_1",
    "processing_status": "in_progress",
    "created_at": "2026-11-01T12:00:00.123456Z",
    "request_counts": {"processing": 3, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 1},
}
NOON = 1_793_534_400.0


@pytest.fixture
def ask(run: Any, serve: Callable[[Handler], str]) -> Callable[..., Any]:
    """``ask(answer, work)`` gives the outcome of `work` on the endpoints of a server that answers everything so, and what it was asked."""

    def ask(answer: Any, work: Callable[[SdkBatches], Any], **headers: str) -> Any:
        asked: List[str] = []

        async def handler(incoming: web.Request) -> web.StreamResponse:
            beta = incoming.headers.get("anthropic-beta", "")
            asked.append(" ".join([incoming.method, incoming.path_qs, beta]).strip())
            if isinstance(answer, bytes):
                return web.Response(body=answer, headers=headers)
            return web.json_response(answer, headers=headers)

        async def main() -> Any:
            way = transport(serve(handler))
            try:
                return await work(SdkBatches(way))
            finally:
                await way.close()

        return run(main()), asked

    return ask


def test_a_batch_is_read(ask: Any) -> None:
    """Counts that are none are not counted; a moment is read to the second, in UTC, and 0 where there is none."""
    info, asked = ask(BATCH, lambda api: api.retrieve("msgbatch_1"), **{"retry-after": "7"})
    assert info == BatchInfo("msgbatch_1", False, NOON, BATCH["request_counts"], 7.0)
    assert (info.requests, asked) == (6, ["GET /v1/messages/batches/msgbatch_1"])
    odd = {**BATCH, "processing_status": "ended", "created_at": "soon", "request_counts": {"a": -1, "b": True, "c": 2}}
    info, asked = ask(odd, lambda api: api.cancel("msgbatch_1"))
    assert info == BatchInfo("msgbatch_1", True, 0.0, {"c": 2}, None)
    assert asked == ["POST /v1/messages/batches/msgbatch_1/cancel"]
    _, asked = ask(BATCH, lambda api: api.create(b'{"requests":[]}', api_version="2023-06-01", betas=("a", "b")))
    assert asked == ["POST /v1/messages/batches a,b"]


def test_a_page_of_the_list_is_read(ask: Any) -> None:
    """With the server's own time, by which the next create is found; an empty page is the last, whatever it says."""
    page = {"data": [BATCH, {**BATCH, "id": "msgbatch_0"}], "has_more": True}
    found, asked = ask(page, lambda api: api.recent(limit=2), Date="Sun, 01 Nov 2026 12:00:00 GMT")
    assert ([info.id for info in found.batches], found.more, found.now) == (["msgbatch_1", "msgbatch_0"], True, NOON)
    assert asked == ["GET /v1/messages/batches?limit=2"]
    found, asked = ask({"data": [], "has_more": True}, lambda api: api.recent(limit=5, after_id="x"), Date="soon")
    assert (found.batches, found.more) == ((), False)
    assert abs(found.now - time.time()) < 60
    assert asked == ["GET /v1/messages/batches?limit=5&after_id=x"]
    found, _ = ask({"data": [BATCH], "has_more": "yes"}, lambda api: api.recent(limit=5))
    assert found.more is False


NO_BATCHES: List[Any] = [[], None, "x", 5, {}, {**BATCH, "request_counts": []}]
NO_BATCHES += [{**BATCH, "id": batch_id} for batch_id in (None, True, 5, [], "", "a/b")]


@pytest.mark.parametrize("answer", NO_BATCHES)
def test_what_is_not_a_batch_is_one_line(ask: Any, answer: Any) -> None:
    """The status is that of an answer: a create may have been made all the same."""

    async def work(api: SdkBatches) -> None:
        for call in (
            api.retrieve("msgbatch_1"),
            api.create(b"{}", api_version="2023-06-01", betas=()),
            api.recent(limit=1),
        ):
            with pytest.raises(MalformedAnswerError, match="check base_url") as raised:
                await call
            assert raised.value.status == 200
            assert "\n" not in str(raised.value)

    ask(answer, work)
    with pytest.raises(MalformedAnswerError, match="check base_url"):
        ask({"data": [answer]}, lambda api: api.recent(limit=1))


@pytest.mark.parametrize("batch_id", ["", "../files", "a/b", "a?b", "a b", "a\n", "-a", "é", "a" * 201])
def test_an_id_that_is_none_is_no_path(ask: Any, batch_id: str) -> None:
    """Nothing is asked for."""

    async def results(api: SdkBatches) -> List[bytes]:
        return [line async for line in api.results(batch_id)]

    for work in (lambda api: api.retrieve(batch_id), lambda api: api.cancel(batch_id), results):
        with pytest.raises(MalformedAnswerError, match="characters that none has") as raised:
            ask(BATCH, work)
        assert raised.value.status == 200


def test_results_come_line_by_line(ask: Any) -> None:
    """Blank lines are none; the last one needs no end."""

    async def results(api: SdkBatches) -> List[bytes]:
        return [line async for line in api.results("a" * 200)]

    lines, asked = ask(b'{"a":1}\n\n  \r\n{"b":2}\r\n{"c":3}', results)
    assert [line.strip() for line in lines] == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    assert asked == [f"GET /v1/messages/batches/{'a' * 200}/results"]
