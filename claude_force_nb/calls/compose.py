"""From a prompt and its options to the request that is sent. Nothing is sent here."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Collection, Dict, Optional, Sequence, Tuple

from claude_force_nb.agents import Agent, AgentLibrary
from claude_force_nb.costs.pricing import PriceTable, resolve_model
from claude_force_nb.errors import EmptyPromptError, ModelRetirementWarning, OptionError
from claude_force_nb.memory.conversations import Turn
from claude_force_nb.messages.checks import check_body, check_messages, sampling_problem
from claude_force_nb.messages.models import ModelRules, retirement_notice, rules_for
from claude_force_nb.messages.request import API_VERSION, DEFAULT_BASE_URL, ClaudeRequest, SharedFields
from claude_force_nb.messages.text import well_formed
from claude_force_nb.messages.thinking import fit_reasoning
from claude_force_nb.prompts.attachments import check_blocks
from claude_force_nb.prompts.fences import DATA_NOTICE
from claude_force_nb.prompts.injection_policy import apply_injection_policy, notices
from claude_force_nb.prompts.template import RenderedPrompt, render
from claude_force_nb.vocabulary import DEFAULT_MAX_TOKENS, DEFAULT_MODEL
from claude_force_nb.warn import warn

from .options import CallOptions
from .prompt_cache import MarkChooser

__all__ = ["RequestMaker"]


class RequestMaker:
    """Makes the requests of calls that differ only in prompt and variables; what they share is looked up and checked once.

    Warns once if the model is retired, or will be within 30 days.

    Parameters
    ----------
    options : CallOptions
        Of all these calls; `variables` are not read here.
    agents : AgentLibrary
        Where an agent is found by name.
    prices : PriceTable
        Where a model is found by alias.
    base_url : str
        The server.
    default_model : str
    default_max_tokens : int
        Tokens, >= 1.
    today : datetime.date, optional
        Day for which a model's retirement is judged, UTC; without it there is no warning.
    """

    def __init__(
        self,
        options: CallOptions,
        *,
        agents: AgentLibrary,
        prices: PriceTable,
        base_url: str,
        default_model: str = DEFAULT_MODEL,
        default_max_tokens: int = DEFAULT_MAX_TOKENS,
        today: Optional[datetime.date] = None,
    ) -> None:
        self._options = options
        self._agents = agents
        self._prices = prices
        self._base_url = base_url
        self._default_model = default_model
        self._default_max_tokens = default_max_tokens
        self._today = today
        self._chosen: Optional[_Chosen] = None
        # By whether the system prompt has to say what a fence is.
        self._shared: Dict[bool, SharedFields] = {}
        self._marks: Optional[MarkChooser] = None

    def request(
        self,
        prompt: str,
        variables: Optional[Mapping[str, Any]] = None,
        turns: Sequence[Turn] = (),
        *,
        varying: Optional[Collection[str]] = None,
    ) -> ClaudeRequest:
        """Return the request for a prompt, below earlier `turns` of its conversation.

        Parameters
        ----------
        prompt : str
            A ``{{ }}`` template where `variables` are given.
        variables : mapping, optional
        turns : sequence of Turn
        varying : collection of str, optional
            For one of many rows, the names whose values differ from row to row: what stands before the first of them is shared, and marked
            for the prompt cache where it is long enough.

        Raises
        ------
        EmptyPromptError
            If nothing but white space is left to send.
        ConfigurationError
            If an agent, a model or a value is unusable, or the model is known to refuse it.
        PromptError
            If a ``{{ }}`` cannot be filled.
        """
        options = self._options
        rendered = _render(prompt, variables, options, varying or ())
        chosen = self._chosen = self._chosen or self._look_up()
        if rendered.attachments:
            check_blocks(rendered.attachments, context_window=self._prices.context_window(chosen.model))
        messages = options.body.get("messages")
        fenced = rendered.fenced or (bool(turns) and any(turn.fenced for turn in turns))
        said = notices(rendered)
        shared = self._shared.get(fenced)
        if messages is None:
            if shared is not None and not turns and type(rendered.content) is str:
                # Nearly every row: no model refuses a single text of the user's.
                made = shared.request_of_text(rendered.content, notices=said)
                return self._marked(made, rendered, fenced, turns, varying)
            messages = [{"role": "user", "content": rendered.content}]
            if turns:
                messages = [*(message for turn in turns for message in turn.messages), *messages]
        if shared is not None:
            check_messages({**shared.body, "messages": messages}, chosen.rules)
            return self._marked(shared.request(messages, notices=said), rendered, fenced, turns, varying)
        body, adjustments = _body_or_without_the_agents_thinking(
            chosen, options, messages, DATA_NOTICE if fenced else None
        )
        request = ClaudeRequest(
            body=body,
            base_url=self._base_url,
            betas=chosen.betas,
            sample=options.sample,
            agent=chosen.agent.name if chosen.agent else None,
            notices=said,
            adjustments=adjustments,
        )
        self._shared[fenced] = SharedFields(request)
        return self._marked(request, rendered, fenced, turns, varying)

    def _marked(
        self,
        request: ClaudeRequest,
        rendered: RenderedPrompt,
        fenced: bool,
        turns: Sequence[Turn],
        varying: Optional[Collection[str]],
    ) -> ClaudeRequest:
        if self._marks is None:
            self._marks = MarkChooser(self._options.prompt_cache or "auto", rules_for(request.model))
        if varying is None:
            return request.marked(self._marks.of_call(request.body, has_turns=bool(turns)))
        return request.marked(self._marks.of_row(request.body, rendered, fenced=fenced))

    def _look_up(self) -> _Chosen:
        options = self._options
        agent = self._agents.find(options.agent) if isinstance(options.agent, str) else options.agent
        model = options.model or (agent.model if agent else None) or self._default_model
        model = resolve_model(model, self._prices, official=self._base_url == DEFAULT_BASE_URL)
        if self._today is not None:
            _warn_of_retirement(model, self._today)
        betas = (options.betas,) if isinstance(options.betas, str) else tuple(options.betas)
        return _Chosen(agent, model, rules_for(model), self._default_max_tokens, betas)


@dataclass(frozen=True)
class _Chosen:
    """What was looked up for the options: the agent, the model and its rules."""

    agent: Optional[Agent]
    model: str
    rules: ModelRules
    default_max_tokens: int
    betas: Tuple[str, ...]


def _body_or_without_the_agents_thinking(
    chosen: _Chosen, options: CallOptions, messages: Sequence[Any], notice: Optional[str]
) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """Return the body and the changes made to it. The caller's options take precedence over the agent's thinking."""
    try:
        return _body(chosen, options, messages, notice)
    except OptionError:
        agent = chosen.agent
        if agent is None or agent.thinking is None:
            raise
        without = replace(chosen, agent=replace(agent, thinking=None))
        body, adjustments = _body(without, options, messages, notice)
        left_out = f"the agent's thinking={agent.thinking} does not go with the other options: left out"
        return body, (*adjustments, left_out)


def _body(
    chosen: _Chosen, options: CallOptions, messages: Sequence[Any], notice: Optional[str]
) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    agent = chosen.agent
    max_tokens, adjustments = _max_tokens(chosen, options)
    body: Dict[str, Any] = {"model": chosen.model, "max_tokens": max_tokens, "messages": messages}
    adjustments += _add_reasoning(body, options, agent, chosen.rules)
    system = [agent.prompt if agent else None, options.system, notice]
    if options.schema is not None and "format" not in body.get("output_config", ()):
        system.append(options.schema.instruction)
    if any(system):
        body["system"] = "\n\n".join(part for part in system if part)
    stop = options.stop_texts()
    if stop:
        body["stop_sequences"] = list(stop)
    config = body.get("output_config")
    body.update(options.body)
    if config is not None:
        body["output_config"] = config
    adjustments += _add_temperature(body, options, agent, chosen.rules)
    check_body(body, chosen.rules, api_version=API_VERSION, betas=chosen.betas)
    return body, adjustments


def _max_tokens(chosen: _Chosen, options: CallOptions) -> Tuple[int, Tuple[str, ...]]:
    if options.max_tokens is not None:
        return options.max_tokens, ()
    wanted = chosen.agent.max_tokens if chosen.agent else None
    most = chosen.rules.max_output_tokens
    if wanted is not None and chosen.rules.known and wanted > most:
        return most, (f"the agent's max_tokens={wanted}: {chosen.rules.name} writes at most {most:,}",)
    return wanted or chosen.default_max_tokens, ()


def _render(
    prompt: str, variables: Optional[Mapping[str, Any]], options: CallOptions, varying: Collection[str]
) -> RenderedPrompt:
    if not isinstance(prompt, str):
        raise OptionError(f"a prompt must be text, not {type(prompt).__name__}")
    prompt = well_formed(prompt)
    if variables is None:
        rendered = RenderedPrompt(prompt)
    else:
        look = options.on_injection != "off"
        rendered = render(prompt, variables, look=look, missing=options.missing or "keep", varying=varying)
        apply_injection_policy(rendered, options.on_injection)
    if not rendered.text.strip():
        raise EmptyPromptError("the prompt is empty; nothing was sent")
    return rendered


def _warn_of_retirement(model: str, today: datetime.date) -> None:
    notice = retirement_notice(model, today)
    if notice is not None:
        warn(notice, ModelRetirementWarning)


def _add_reasoning(
    body: Dict[str, Any], options: CallOptions, agent: Optional[Agent], rules: ModelRules
) -> Tuple[str, ...]:
    """Add thinking, effort and the output format to a body in the form the model accepts; return the changes."""
    own = options.body.get("output_config")
    own_effort = own.get("effort") if isinstance(own, Mapping) else None
    own_thinking = "thinking" in options.body
    reasoning = fit_reasoning(
        rules,
        max_tokens=body["max_tokens"],
        thinking=None if own_thinking else options.thinking,
        effort=own_effort if isinstance(own_effort, str) else options.effort,
        agent_thinking=None if own_thinking or agent is None else agent.thinking,
        agent_effort=None if agent is None else agent.effort,
    )
    if reasoning.thinking is not None:
        body["thinking"] = reasoning.thinking
    config: Dict[str, Any] = {}
    if reasoning.effort is not None:
        config["effort"] = reasoning.effort
    output_format = None if options.schema is None else options.schema.output_format(body["model"])
    if output_format is not None:
        config["format"] = output_format
    if isinstance(own, Mapping):
        if options.schema is not None and "format" in own:
            raise OptionError("give schema or output_config.format, not both")
        config.update(own)
    if config:
        body["output_config"] = config
    return reasoning.notices


def _add_temperature(
    body: Dict[str, Any], options: CallOptions, agent: Optional[Agent], rules: ModelRules
) -> Tuple[str, ...]:
    """Add the temperature to a body. The agent's is left out if the model does not accept it, since its file may be older."""
    if "temperature" in options.body:
        return ()
    if options.temperature is not None:
        body["temperature"] = options.temperature
        return ()
    if agent is None or agent.temperature is None:
        return ()
    tried = dict(body, temperature=agent.temperature)
    if sampling_problem(tried, rules, api_version=API_VERSION) is None:
        body["temperature"] = agent.temperature
        return ()
    return (f"the agent's temperature={agent.temperature}: {rules.name} does not take it here; left out",)
