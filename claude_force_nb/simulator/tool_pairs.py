"""Checks that each tool call has a result in the place that the API requires. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from .catalogue import Model
from .failures import invalid

__all__ = ["SERVER_RESULT", "TOOL_KINDS", "check_tool_pairs"]

TOOL_KINDS = frozenset(["tool_use", "tool_result", "server_tool_use"])
# Suffix of the types of results of the API's own tools.
SERVER_RESULT = "_tool_result"


@dataclass
class _Turn:
    """Consecutive messages of one role, which the API reads as one.

    Attributes
    ----------
    role : str
    number : int
        Number of its first message, from 0.
    blocks : list of dict
    """

    role: str
    number: int
    blocks: List[Dict[str, Any]]


def _blocks(message: Mapping[str, Any]) -> List[Dict[str, Any]]:
    content = message["content"]
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def check_tool_pairs(messages: Sequence[Mapping[str, Any]], model: Model, tools: Sequence[Mapping[str, Any]]) -> None:
    """Check that every call is answered at the start of the next message, and that every result belongs to a call."""
    turns: List[_Turn] = []
    for number, message in enumerate(messages):
        if turns and turns[-1].role == message["role"]:
            turns[-1].blocks += _blocks(message)
        else:
            turns.append(_Turn(message["role"], number, list(_blocks(message))))
    seen: Set[str] = set()
    called: List[str] = []
    server = _ServerCalls(tools)
    for place, turn in enumerate(turns):
        if turn.role == "user" and model.checks_tool_pairs:
            _check_results(turn.number, turn.blocks, called)
        if turn.role != "assistant":
            called = []
            continue
        called = [block["id"] for block in turn.blocks if block["type"] == "tool_use"]
        for name in called:
            if name in seen:
                raise invalid(f"messages.{turn.number}: `tool_use` ids must be unique")
            seen.add(name)
        after = turns[place + 1] if place + 1 < len(turns) else None
        if model.checks_tool_pairs:
            _check_called(turn.number, called, after)
        _check_programmatic(turn.blocks, after)
        server.read(turn.number, turn.blocks)
        server.check(after)


def _leading_results(blocks: Sequence[Mapping[str, Any]]) -> List[str]:
    found = []
    for block in blocks:
        if block["type"] != "tool_result":
            break
        found.append(block["tool_use_id"])
    return found


def _check_results(number: int, blocks: Sequence[Mapping[str, Any]], called: Sequence[str]) -> None:
    seen: Set[str] = set()
    for place, block in enumerate(blocks):
        if block["type"] != "tool_result":
            continue
        name = block["tool_use_id"]
        if name not in called:
            raise invalid(
                f"messages.{number}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if name in seen:
            raise invalid(
                f"messages.{number}.content.{place}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {name}"
            )
        seen.add(name)


def _check_called(number: int, called: Sequence[str], after: Optional[_Turn]) -> None:
    answered = _leading_results(after.blocks) if after is not None and after.role == "user" else []
    missing = [name for name in called if name not in answered]
    if missing:
        raise invalid(
            f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def _result_kind(tool: str) -> str:
    return ("tool_search" if tool.startswith("tool_search_tool") else tool) + SERVER_RESULT


class _ServerCalls:
    """Calls of the API's own tools without a result yet, across turns."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._tools = tools
        # Call id -> name of the tool, number of the message.
        self._open: Dict[str, Tuple[str, int]] = {}

    def read(self, number: int, blocks: Sequence[Mapping[str, Any]]) -> None:
        """Read the calls and results of an assistant turn in order."""
        for place, block in enumerate(blocks):
            kind = block["type"]
            if kind == "server_tool_use":
                self._open[block["id"]] = (block["name"], number)
            elif kind.endswith(SERVER_RESULT) and kind != "tool_result" and "tool_use_id" in block:
                called = self._open.pop(block["tool_use_id"], None)
                if called is None or _result_kind(called[0]) != kind:
                    raise invalid(
                        f"messages.{number}.content.{place}: unexpected `tool_use_id` found in `{kind}` blocks: "
                        f"{block['tool_use_id']}. Each `{kind}` block must have a corresponding `server_tool_use` block "
                        "before it."
                    )

    def check(self, after: Optional[_Turn]) -> None:
        """Raise ApiFailure for a call without a result, unless the turn `after` it lets the API resume the call.

        That is the case if a paused turn is sent back unchanged, or is followed only by results of the client's own tools.
        """
        resumed = after is None or (
            after.role == "user" and all(block["type"] == "tool_result" for block in after.blocks)
        )
        for name, (tool, number) in self._open.items():
            text = (
                f"messages.{number}: `{tool}` tool use with id `{name}` was found without a corresponding "
                f"`{_result_kind(tool)}` block"
            )
            if not resumed:
                raise invalid(text)
            if not any(_offers(offered, tool) for offered in self._tools):
                raise invalid(f"{text}, but no `{tool}` tool was provided")


def _offers(offered: Mapping[str, Any], tool: str) -> bool:
    """Return whether a tool of the request can make calls of this name; code execution includes two further tools."""
    name = str(offered.get("name"))
    return name == tool or (name == "code_execution" and tool.endswith("code_execution"))


def _check_programmatic(blocks: Sequence[Mapping[str, Any]], after: Optional[_Turn]) -> None:
    """Refuse anything other than text results in answer to calls from code execution."""
    from_code = [
        block
        for block in blocks
        if block["type"] == "tool_use" and str((block.get("caller") or {}).get("type")).startswith("code_execution")
    ]
    if not from_code or after is None or after.role != "user":
        return
    for place, block in enumerate(after.blocks):
        where = f"messages.{after.number}.content.{place}"
        if block["type"] != "tool_result":
            raise invalid(f"{where}: only `tool_result` blocks can answer tool calls from code execution")
        inner = block.get("content")
        if isinstance(inner, list) and any(part["type"] != "text" for part in inner):
            raise invalid(f"{where}: results of tool calls from code execution must be text")
