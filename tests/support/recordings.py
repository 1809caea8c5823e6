"""Recordings of the API, if their folder is named, and a reader for them that is independent of the package."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

FOLDER = os.environ.get("CLAUDE_FORCE_RECORDINGS", "")


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
