"""Rules for the messages of a request: roles, blocks, tool calls and their results, prefill, citations. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from .blocks import images_in, media_in, refusal_of
from .catalogue import Model
from .failures import invalid
from .images import Image, check_images
from .request_shapes import BLOCKS, SYSTEM
from .tokens import MESSAGE_TOKENS, block_tokens, count_content, count_text_tokens
from .tool_pairs import SERVER_RESULT, TOOL_KINDS, check_tool_pairs

__all__ = ["Conversation", "read_conversation"]

_MAX_MESSAGES = 100_000
_ROLES = ("user", "assistant", "system")
_TEXT_KEYS = {"type", "text"}
_NO_DOCUMENTS_VERSION = "2026-10-21"
# Beta with which a system message may change the effort from there on.
_EFFORT_BETA = "mid-conversation-output-config-"


@dataclass
class Conversation:
    """Facts about a request's messages and system prompt.

    Attributes
    ----------
    kinds : set of str
        Types of all content blocks.
    tokens : int
        Tokens of the messages and the system prompt.
    marked : bool
        True if a block has a prompt cache breakpoint.
    images : list of Image
        All images, including those in tool results and documents.
    citing, citing_results : list of bool
        For each document, and for each search result, whether it is to be cited.
    efforts : list of (int, str)
        Numbers of the messages that change the effort, and the new effort.
    unopened : str or None
        Path of a beta field whose header is missing.
    """

    kinds: Set[str] = field(default_factory=set)
    tokens: int = 0
    marked: bool = False
    images: List[Image] = field(default_factory=list)
    citing: List[bool] = field(default_factory=list)
    citing_results: List[bool] = field(default_factory=list)
    efforts: List[Tuple[int, str]] = field(default_factory=list)
    unopened: Optional[str] = None

    def add(self, block: Dict[str, Any]) -> None:
        """Record a content block, and the blocks inside a tool result."""
        kind = block["type"]
        self.kinds.add(kind)
        if block.get("cache_control"):
            self.marked = True
        if kind in ("document", "search_result"):
            found = self.citing if kind == "document" else self.citing_results
            found.append(bool((block.get("citations") or {}).get("enabled")))
        elif kind == "tool_result" and isinstance(block.get("content"), list):
            for inner in block["content"]:
                self.add(inner)


def read_conversation(
    body: Mapping[str, Any], model: Model, api_version: str, betas: FrozenSet[str] = frozenset()
) -> Conversation:
    """Return the facts about a request's messages; raises ApiFailure if the API refuses them."""
    messages = body["messages"]
    if not isinstance(messages, list):
        raise invalid("messages: Input should be a valid list")
    if not messages:
        raise invalid("messages: at least one message is required")
    if len(messages) > _MAX_MESSAGES:
        raise invalid(f"messages: List should have at most {_MAX_MESSAGES} items after validation, not {len(messages)}")
    found = Conversation(tokens=MESSAGE_TOKENS * len(messages))
    if "system" in body:
        _read_system(body["system"], found, model.characters_per_token)
    per_token = model.characters_per_token
    last = len(messages) - 1
    roles = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise invalid(f"messages.{number}: Input does not match the expected shape.")
        role, content = message.get("role"), message.get("content")
        roles.append(role)
        if isinstance(content, str) and content and len(message) == 2 and role in _ROLES:
            found.tokens += count_text_tokens(content, per_token)
            continue
        _check_message(message, number, last=number == last)
        if "output_config" in message:
            effort = (message["output_config"] or {}).get("effort")
            if effort is not None:
                found.efforts.append((number, effort))
            if not any(beta.startswith(_EFFORT_BETA) for beta in betas):
                found.unopened = f"messages.{number}.output_config"
        if isinstance(content, list):
            _read_blocks(content, number, str(role), found, per_token)
    _check_roles(messages, roles, model)
    if found.kinds:
        _check_blocks(messages, found, model, api_version)
        if any(kind in TOOL_KINDS or kind.endswith(SERVER_RESULT) for kind in found.kinds):
            check_tool_pairs(messages, model, body.get("tools") or ())
    return found


def _read_system(system: Any, found: Conversation, per_token: int) -> None:
    if isinstance(system, str):
        found.tokens += count_text_tokens(system, per_token)
        return
    SYSTEM(system, "system")
    for block in system:
        if not block["text"]:
            raise invalid("system: text content blocks must be non-empty")
        if block.get("cache_control"):
            found.marked = True
    found.tokens += count_content(system, per_token)


def _check_message(message: Mapping[str, Any], number: int, *, last: bool) -> None:
    where = f"messages.{number}"
    role = message.get("role")
    if not isinstance(role, str):
        raise invalid(f"{where}.role: Field required")
    if role not in _ROLES:
        raise invalid(f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant".')
    if "content" not in message:
        raise invalid(f"{where}.content: Field required")
    extra = sorted(set(message) - {"role", "content"} - ({"output_config"} if role == "system" else set()))
    if extra:
        raise invalid(f"{where}.{extra[0]}: Extra inputs are not permitted")
    content = message["content"]
    if not isinstance(content, (str, list)):
        raise invalid(f"{where}.content: Input should be a valid string or list")
    if not content and not (role == "assistant" and last):
        raise invalid(
            f"{where}: all messages must have non-empty content except for the optional final assistant message"
        )


def _read_blocks(content: List[Any], number: int, role: str, found: Conversation, per_token: int) -> None:
    for place, block in enumerate(content):
        where = f"messages.{number}.content.{place}"
        # A shortcut, since nearly every block is plain text.
        if (
            isinstance(block, dict)
            and block.keys() == _TEXT_KEYS
            and block["type"] == "text"
            and isinstance(block["text"], str)
            and block["text"]
        ):
            found.kinds.add("text")
            found.tokens += count_text_tokens(block["text"], per_token)
            continue
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise invalid(where + ": Input does not match the expected shape.")
        BLOCKS(block, where)
        if role == "system" and block["type"] != "text":
            raise invalid(f"{where}: only text blocks are allowed in system messages")
        if block["type"] == "text" and not block["text"]:
            if block.get("cache_control"):
                raise invalid(f"{where}: cache_control cannot be set for empty text blocks")
            raise invalid("messages: text content blocks must be non-empty")
        for part, path in media_in(block, where):
            refusal = refusal_of(part, path)
            if refusal is not None:
                raise invalid(refusal)
        found.images.extend(images_in(block, where))
        found.add(block)
        found.tokens += block_tokens(block, per_token)


def _check_roles(messages: Sequence[Mapping[str, Any]], roles: Sequence[Any], model: Model) -> None:
    if "system" in roles:
        _check_system_messages(messages, roles, model)
    if roles[-1] == "assistant":
        _check_prefill(messages[-1]["content"], model)


def _ends_in_server_tool(content: Any) -> bool:
    if not isinstance(content, list) or not content:
        return False
    kind: str = content[-1]["type"]
    return kind == "server_tool_use" or (str(kind).endswith("_tool_result") and kind != "tool_result")


def _check_system_messages(messages: Sequence[Mapping[str, Any]], roles: Sequence[Any], model: Model) -> None:
    if not model.system_messages:
        raise invalid("role 'system' is not supported on this model")
    for number, role in enumerate(roles):
        if role != "system":
            continue
        where = f"messages.{number}"
        if number == 0:
            raise invalid(
                f"{where}: a system message cannot be the first message; use the top-level `system` parameter"
            )
        before = messages[number - 1]
        if roles[number - 1] == "system":
            raise invalid(f"{where}: a system message must follow a user message")
        if roles[number - 1] == "assistant" and not _ends_in_server_tool(before["content"]):
            calls = isinstance(before["content"], list) and any(
                block["type"] == "tool_use" for block in before["content"]
            )
            if calls:
                raise invalid(f"{where}: a system message cannot stand between a tool_use and its tool_result")
            raise invalid(
                f"{where}: a system message must follow a user message, or an assistant message that ends in the result "
                "of a server tool"
            )
        if number + 1 < len(roles) and roles[number + 1] != "assistant":
            raise invalid(f"{where}: a system message must be last, or be followed by an assistant message")


def _check_prefill(content: Any, model: Model) -> None:
    if _ends_in_server_tool(content):
        return
    if model.prefill == "no":
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    text = content if isinstance(content, str) else content[-1].get("text", "") if content else ""
    if text and text != text.rstrip():
        raise invalid("messages: final assistant content cannot end with trailing whitespace")


def _check_blocks(messages: Sequence[Mapping[str, Any]], found: Conversation, model: Model, api_version: str) -> None:
    check_images(found.images, model)
    for citing in (found.citing, found.citing_results):
        if len(set(citing)) > 1:
            raise invalid("citations: must be enabled on all documents and search results, or on none")
    for number, message in enumerate(messages):
        content = message["content"]
        if not isinstance(content, list):
            continue
        if message["role"] == "user":
            for place, block in enumerate(content):
                if block["type"] in ("tool_use", "thinking", "redacted_thinking", "server_tool_use"):
                    where = f"messages.{number}.content.{place}"
                    raise invalid(f"{where}: `{block['type']}` blocks can only be in `assistant` messages")
                if api_version >= _NO_DOCUMENTS_VERSION:
                    _check_citations(block, f"messages.{number}.content.{place}")
                    inner = block.get("content") if block["type"] == "tool_result" else None
                    for part in inner if isinstance(inner, list) else ():
                        if part["type"] == "search_result":
                            _check_citations(part, f"messages.{number}.content.{place}.tool_result")
        else:
            for place, block in enumerate(content):
                where = f"messages.{number}.content.{place}"
                if block["type"] == "tool_result":
                    raise invalid(f"{where}: `tool_result` blocks can only be in `user` messages")
                if block["type"] == "document" and api_version >= _NO_DOCUMENTS_VERSION:
                    raise invalid(f"{where}: `document` blocks are not permitted in `assistant` messages")


def _check_citations(block: Mapping[str, Any], where: str) -> None:
    texts = block["content"] if block["type"] == "search_result" else [block]
    if any(text.get("type") == "text" and text.get("citations") for text in texts):
        raise invalid(f"{where}.citations: citations are not permitted in `user` messages")
