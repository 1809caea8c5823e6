"""Real answers of the API, recorded elsewhere, come through the transport as an independent reading of them says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.transport import SdkTransport
from claude_force_nb.errors import ApiError, AuthenticationError, InvalidRequestError
from claude_force_nb.request import ClaudeRequest

FOLDER = os.environ.get("CLAUDE_FORCE_RECORDINGS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="CLAUDE_FORCE_RECORDINGS names no folder of recordings")


def load_replay() -> Any:
    spec = importlib.util.spec_from_file_location("recordings_replay", str(Path(FOLDER) / "replay.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REPLAY: Any = load_replay() if FOLDER else None


def recordings() -> List[Any]:
    if not FOLDER:
        return []
    found = []
    for line in (Path(FOLDER) / "INDEX.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        repo, path = line.split("\t")[:2]
        name = Path(FOLDER) / repo / path
        if name.exists() and "count_tokens" not in line.split("\t")[5]:
            found.append(pytest.param(str(name), id=Path(path).name))
    return found


def read_stream(body: bytes) -> Dict[str, Any]:
    """Read a stream line by line, by block index: another way than the transport's."""
    blocks: Dict[int, List[Any]] = {}
    message: Dict[str, Any] = {"usage": {}}
    for line in re.findall(rb"^data:(.*)$", body.replace(b"\r\n", b"\n"), re.MULTILINE):
        event = json.loads(line)
        if event["type"] == "message_start":
            message["model"] = event["message"]["model"]
            message["usage"].update(event["message"]["usage"])
        elif event["type"] == "content_block_start":
            block = event["content_block"]
            blocks[event["index"]] = [block["type"], block.get("text", "") or block.get("thinking", "")]
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            blocks[event["index"]][1] += delta.get("text", "") + delta.get("thinking", "")
        elif event["type"] == "message_delta":
            message["stop_reason"] = event["delta"]["stop_reason"]
            message["usage"].update({key: value for key, value in event["usage"].items() if value is not None})
    message["text"] = "".join(text for kind, text in blocks.values() if kind == "text")
    message["thinking"] = "".join(text for kind, text in blocks.values() if kind == "thinking")
    message["kinds"] = [kind for kind, _ in blocks.values()]
    return message


def read_plain(body: bytes) -> Dict[str, Any]:
    message: Dict[str, Any] = json.loads(body)
    blocks = message["content"]
    message["text"] = "".join(block["text"] for block in blocks if block["type"] == "text")
    message["thinking"] = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    message["kinds"] = [block["type"] for block in blocks]
    return message


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
        way = SdkTransport(api_key="sk-ant-test", base_url=server.url, environ={})
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
