"""From a prompt and its options to the request that is sent. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Dict, Optional, Sequence

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.costs.pricing import PriceTable, resolve_model
from claude_force_nb.errors import EmptyPromptError, OptionError
from claude_force_nb.memory.conversations import Turn
from claude_force_nb.messages.request import DEFAULT_BASE_URL, ClaudeRequest
from claude_force_nb.messages.thinking import check_reasoning, thinking_field
from claude_force_nb.prompts.attachments import check_blocks
from claude_force_nb.prompts.fences import DATA_NOTICE
from claude_force_nb.prompts.injection_policy import apply_injection_policy, notices
from claude_force_nb.prompts.template import RenderedPrompt, render
from claude_force_nb.schemas.answer import AnswerSchema
from claude_force_nb.vocabulary import DEFAULT_MAX_TOKENS, DEFAULT_MODEL

from .options import CallOptions

__all__ = ["compose"]


def compose(
    prompt: str,
    options: CallOptions,
    *,
    agents: AgentLibrary,
    prices: PriceTable,
    base_url: str,
    default_model: str = DEFAULT_MODEL,
    default_max_tokens: int = DEFAULT_MAX_TOKENS,
    turns: Sequence[Turn] = (),
) -> ClaudeRequest:
    """Return the request for a prompt, below earlier `turns` of its conversation.

    Raises
    ------
    EmptyPromptError
        If nothing but white space is left to send.
    ConfigurationError
        If an agent, a model or a value is unusable.
    PromptError
        If a ``{{ }}`` cannot be filled.
    """
    if not isinstance(prompt, str):
        raise OptionError(f"a prompt must be text, not {type(prompt).__name__}")
    agent = agents.find(options.agent) if isinstance(options.agent, str) else options.agent
    rendered = RenderedPrompt(prompt)
    if options.variables is not None:
        rendered = render(prompt, options.variables, look=options.on_injection != "off")
        apply_injection_policy(rendered, options.on_injection)
    if not rendered.text.strip():
        raise EmptyPromptError("the prompt is empty; nothing was sent")
    model = options.model or (agent.model if agent else None) or default_model
    model = resolve_model(model, prices, official=base_url == DEFAULT_BASE_URL)
    if rendered.attachments:
        check_blocks(rendered.attachments, context_window=prices.context_window(model))
    temperature = options.temperature if options.temperature is not None else (agent.temperature if agent else None)
    max_tokens = options.max_tokens or (agent.max_tokens if agent else None) or default_max_tokens
    config = _output_config(options.schema, options, model)
    body: Dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "messages": [
            *(message for turn in turns for message in turn.messages),
            {"role": "user", "content": rendered.content},
        ],
    }
    fenced = rendered.fenced or any(turn.fenced for turn in turns)
    system = [agent.prompt if agent else None, options.system, DATA_NOTICE if fenced else None]
    if options.schema is not None and "format" not in config:
        system.append(options.schema.instruction)
    if any(system):
        body["system"] = "\n\n".join(part for part in system if part)
    if temperature is not None:
        body["temperature"] = temperature
    thinking = thinking_field(options.thinking, model=model, max_tokens=max_tokens)
    if thinking is not None:
        body["thinking"] = thinking
    stop = options.stop_texts()
    if stop:
        body["stop_sequences"] = list(stop)
    body.update(options.body)
    if config:
        body["output_config"] = config
    check_reasoning(body)
    return ClaudeRequest(
        body=body,
        base_url=base_url,
        betas=(options.betas,) if isinstance(options.betas, str) else tuple(options.betas),
        sample=options.sample,
        agent=agent.name if agent else None,
        notices=notices(rendered),
    )


def _output_config(schema: Optional[AnswerSchema], options: CallOptions, model: str) -> Dict[str, Any]:
    config: Dict[str, Any] = {}
    if options.effort is not None:
        config["effort"] = options.effort
    output_format = None if schema is None else schema.output_format(model)
    if output_format is not None:
        config["format"] = output_format
    own = options.body.get("output_config")
    if isinstance(own, Mapping):
        if schema is not None and "format" in own:
            raise OptionError("give schema or output_config.format, not both")
        config.update(own)
    return config
