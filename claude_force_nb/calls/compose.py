"""Turn a prompt and its options into a request. Nothing is sent here."""

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
    """Makes the requests of calls that differ only in prompt and variables, looking up and checking everything else once.

    Warns once if the model is retired or will be within 30 days.

    Parameters
    ----------
    options : CallOptions
        The options of all these calls; `variables` are ignored here.
    agents : AgentLibrary
        Finds agents by name.
    prices : PriceTable
        Finds models by alias.
    base_url : str
        Address of the server.
    default_model : str
    default_max_tokens : int
        In tokens, >= 1.
    today : datetime.date, optional
        The date (UTC) to compare with the model's retirement; if None, there is no warning.
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
        # The key says whether the system prompt has to explain the fences around values.
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
        """Return the request for a prompt that follows the earlier `turns` of its conversation.

        Parameters
        ----------
        prompt : str
            A ``{{ }}`` template if `variables` are given.
        variables : mapping, optional
        turns : sequence of Turn
        varying : collection of str, optional
            For one of many rows, the variables that differ from row to row. The rows share the text before the first of
            them, which is marked for the prompt cache if it is long enough.

        Raises
        ------
        EmptyPromptError
            If the prompt is empty or only white space.
        ConfigurationError
            If an agent, a model or an option is not valid, or the model is known to refuse it.
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
                # The usual case for rows. It needs no check, since every model accepts a single text message of the
                # user.
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
    """The agent, the model and the model's rules that were looked up for the options."""

    agent: Optional[Agent]
    model: str
    rules: ModelRules
    default_max_tokens: int
    betas: Tuple[str, ...]


def _body_or_without_the_agents_thinking(
    chosen: _Chosen, options: CallOptions, messages: Sequence[Any], notice: Optional[str]
) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """Return the body and the changes made to it; drop the agent's thinking if it conflicts with the caller's options."""
    try:
        return _body(chosen, options, messages, notice)
    except OptionError:
        agent = chosen.agent
        if agent is None or agent.thinking is None:
            raise
        without = replace(chosen, agent=replace(agent, thinking=None))
        body, adjustments = _body(without, options, messages, notice)
        left_out = f"the agent's thinking={agent.thinking} cannot be combined with the other options; it is left out"
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
        return most, (
            f"the agent's max_tokens={wanted} is lowered: {chosen.rules.name} writes at most {most:,} tokens",
        )
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
    """Add thinking, effort and output format to a body in the form that the model accepts; return the changes."""
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
    """Add the temperature to a body, but omit an agent's if the model rejects it, since the agent may be older than the model."""
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
    return (f"the agent's temperature={agent.temperature} is left out: {rules.name} does not accept it here",)
