"""Rules that apply to every model, for fields other than the messages: tools, stop sequences, warm-ups. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from .catalogue import Model
from .failures import invalid
from .output_config import NO_SCHEMAS, SchemaLimits, format_of, is_circular
from .tool_shapes import tool_kind

__all__ = ["check_parameter_rules"]

_MAX_STRICT_TOOLS = 20


def check_parameter_rules(body: Mapping[str, Any], model: Model, *, batch: bool) -> None:
    """Raise ApiFailure for parameters that no model accepts. A request that only counts tokens lacks some of them."""
    _check_tools(body)
    _check_schemas(body, model)
    _check_stop_sequences(body)
    _check_mcp(body)
    if body.get("max_tokens") == 0:
        _check_warm_up(body)
    if batch:
        _check_batch(body)


def _check_tools(body: Mapping[str, Any]) -> None:
    tools: List[Dict[str, Any]] = body.get("tools") or []
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(set(names)) < len(names):
        raise invalid("tools: Tool names must be unique.")
    for place, tool in enumerate(tools):
        if tool.get("allowed_domains") and tool.get("blocked_domains"):
            raise invalid(f"tools.{place}: only one of `allowed_domains` and `blocked_domains` may be specified")
        if tool_kind(tool) == "custom" and tool["input_schema"].get("type") != "object":
            raise invalid(f"tools.{place}.custom.input_schema.type: Input should be 'object'")
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise invalid("At least one tool must have defer_loading=false. All tools cannot be deferred.")
    choice = body.get("tool_choice")
    _check_code_callers(tools, choice or {})
    if choice is None or choice["type"] == "none":
        return
    if not tools:
        raise invalid("tool_choice: may only be specified while providing tools")
    if choice["type"] == "tool" and choice["name"] not in names:
        raise invalid(f"Tool '{choice['name']}' not found in provided tools")


def _check_schemas(body: Mapping[str, Any], model: Model) -> None:
    limits = SchemaLimits()
    wanted = format_of(body)
    if wanted is not None:
        if not model.structured_outputs:
            raise invalid(NO_SCHEMAS)
        limits.add(wanted, "output_config.format.schema")
    strict = [(place, tool) for place, tool in enumerate(body.get("tools") or ()) if tool.get("strict")]
    if len(strict) > _MAX_STRICT_TOOLS:
        raise invalid(f"tools: Too many strict tools ({len(strict)}). The maximum number of strict tools is 20.")
    for place, tool in strict:
        if tool_kind(tool) == "custom":
            limits.add(tool["input_schema"], f"tools.{place}.custom")
    limits.check()


def _check_stop_sequences(body: Mapping[str, Any]) -> None:
    if any(not stop.strip() for stop in body.get("stop_sequences") or ()):
        raise invalid("stop_sequences: each stop sequence must contain non-whitespace")


def _check_code_callers(tools: Sequence[Mapping[str, Any]], choice: Mapping[str, Any]) -> None:
    """Check the tools that code execution may call ("Programmatic tool calling")."""
    callable_tools = {
        place: tool
        for place, tool in enumerate(tools)
        if any(caller.startswith("code_execution_") for caller in tool.get("allowed_callers") or ())
    }
    for place, tool in callable_tools.items():
        where = f"tools.{place}.{tool_kind(tool)}"
        if tool.get("strict"):
            raise invalid(f"{where}.strict: strict tools cannot be called from code execution")
        if choice.get("type") == "tool" and choice["name"] == tool.get("name"):
            raise invalid(
                f"tool_choice: tool '{choice['name']}' can be called from code execution and cannot be forced"
            )
        if is_circular(tool.get("input_schema")):
            raise invalid(f"{where}.input_schema: Circular $ref detected")
    if callable_tools and choice.get("disable_parallel_tool_use"):
        raise invalid("tool_choice.disable_parallel_tool_use: not supported with tools called from code execution")


def _check_mcp(body: Mapping[str, Any]) -> None:
    """Check that the MCP connector's servers and toolsets match."""
    servers = [server["name"] for server in body.get("mcp_servers") or ()]
    toolsets = [tool for tool in body.get("tools") or () if tool_kind(tool) == "mcp_toolset"]
    if len(set(servers)) < len(servers):
        raise invalid("mcp_servers: server names must be unique")
    named = [tool["mcp_server_name"] for tool in toolsets]
    for place, tool in enumerate(body.get("tools") or ()):
        if tool_kind(tool) == "mcp_toolset" and not tool.get("tools") and tool["mcp_server_name"] not in servers:
            raise invalid(f"tools.{place}: MCP server '{tool['mcp_server_name']}' not found in mcp_servers")
    for place, name in enumerate(servers):
        if named.count(name) != 1:
            raise invalid(
                f"mcp_servers.{place}: MCP server '{name}' must be referenced by exactly one mcp_toolset, "
                f"not {named.count(name)}"
            )


def _check_warm_up(body: Mapping[str, Any]) -> None:
    """Refuse parameters that a request cannot have that only fills the prompt cache."""
    if body.get("stream"):
        raise invalid("max_tokens: 0 is not supported with stream: true")
    if format_of(body) is not None:
        raise invalid("max_tokens: 0 is not supported with output_config.format")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise invalid("max_tokens: 0 is not supported with a tool_choice that forces tool use")


def _check_batch(body: Mapping[str, Any]) -> None:
    """Refuse parameters that a row of a message batch cannot have."""
    if body.get("stream"):
        raise invalid("stream: streaming is not supported in batches")
    if body.get("max_tokens") == 0:
        raise invalid("max_tokens: 0 is not supported in batches")
    for name in ("speed", "fallbacks", "thread", "diagnostics"):
        if body.get(name) is not None:
            raise invalid(f"{name}: not supported in batches")
