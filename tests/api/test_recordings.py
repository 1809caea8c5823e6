"""Real answers of the API, recorded elsewhere, come through the transport as an independent reading of them says."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any, Dict, Tuple

import pytest
from support.recordings import FOLDER, REPLAY, read_plain, read_stream, recordings

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import ApiError, AuthenticationError, InvalidRequestError
from claude_force_nb.messages.request import ClaudeRequest

pytestmark = pytest.mark.skipif(not FOLDER, reason="CLAUDE_FORCE_RECORDINGS names no folder of recordings")


def expected_tokens(usage: Dict[str, Any]) -> Tuple[int, int, int, int]:
    return (
        usage["input_tokens"],
        usage["output_tokens"],
        usage.get("cache_read_input_tokens") or 0,
        usage.get("cache_creation_input_tokens") or 0,
    )


@pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")  # the SDK's, of old recordings
@pytest.mark.parametrize("path", recordings())
def test_recorded_answers(run: Any, path: str) -> None:
    """Text, thinking, kinds of blocks, model, usage and stop reason are the recording's; errors have their class."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # replay.py leaves closing its file to the interpreter
        interactions = REPLAY.load(path)
    assert interactions

    async def ask(server: Any, interaction: Dict[str, Any]) -> Any:
        body = interaction["req"] if isinstance(interaction["req"], dict) else {}
        streamed = b"event: message_start" in interaction["body"]
        asked = ClaudeRequest(
            body={"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], **body},
            base_url=server.url,
        )
        way = ApiTransport(api_key="sk-ant-test", base_url=server.url, environ={})
        partial = PartialAnswer() if streamed else None
        try:
            answer = await way.send(asked, timeout_seconds=20, partial=partial)
        except ApiError as error:
            return error, None
        finally:
            await way.close()
        return answer, partial

    async def main() -> None:
        for interaction in interactions:
            server = await REPLAY.Replay([{**interaction, "path": "/v1/messages"}]).start()
            try:
                answer, partial = await ask(server, interaction)
            finally:
                await server.stop()
                server.srv.close()
            if interaction["status"] != 200:
                check_error(answer, interaction)
                continue
            assert not isinstance(answer, ApiError), answer
            expected = read_plain(interaction["body"]) if partial is None else read_stream(interaction["body"])
            result = answer.to_result(fingerprint="f", agent=None)
            assert (result.text, result.thinking) == (expected["text"], expected["thinking"])
            assert [block["type"] for block in answer.body["content"]] == expected["kinds"]
            assert (result.model, result.stop_reason) == (expected["model"], expected["stop_reason"])
            usage = result.usage
            written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
            tokens = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, written)
            assert tokens == expected_tokens(expected["usage"])
            assert result.request_id == interaction["headers"].get("request-id")
            if partial is not None:
                assert (partial.text, partial.thinking) == (expected["text"], expected["thinking"])
        # The replay server's connections end by themselves, a moment after ours.
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    run(main())


def check_error(error: Any, interaction: Dict[str, Any]) -> None:
    assert isinstance(error, ApiError)
    said = json.loads(interaction["body"])["error"]
    assert type(error) is (AuthenticationError if interaction["status"] == 401 else InvalidRequestError)
    assert (error.status, error.error_type) == (interaction["status"], said["type"])
    assert " ".join(said["message"].split())[:200] in str(error)
    assert not error.retryable
