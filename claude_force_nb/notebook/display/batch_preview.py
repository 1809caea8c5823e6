"""The table that ``--dry-run`` of a batch shows: what would be sent, what it would cost, and how long it would take."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Tuple

from claude_force_nb.api.pacing import model_family
from claude_force_nb.calls.options import CallOptions
from claude_force_nb.costs.bounds import content_bytes
from claude_force_nb.costs.days import today
from claude_force_nb.costs.report import dollars
from claude_force_nb.errors import ApiError, ClaudeForceError
from claude_force_nb.messages.models import rules_for
from claude_force_nb.messages.tokens import text_tokens
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.prompts.template import constants_behind, render
from claude_force_nb.rows.estimate import BatchEstimate, Sampled, minutes_at_limits, prompt_cache_saving
from claude_force_nb.rows.sources import Source
from claude_force_nb.rows.yielding import LoopYielder
from claude_force_nb.vocabulary import counted

from .progress import duration
from .tables import table_bundle

__all__ = ["preview_batch"]

_COUNT_SECONDS = 10.0


async def preview_batch(
    orchestrator: AsyncAgentOrchestrator, source: Source, arguments: Mapping[str, Any], *, count: str = "api"
) -> Dict[str, str]:
    """Go through all rows and return the table to show.

    Parameters
    ----------
    orchestrator : AsyncAgentOrchestrator
    source : Source
    arguments : mapping
        Arguments of `AsyncAgentOrchestrator.run_stream`.
    count : str
        ``api`` has the API count the tokens of up to 20 rows, which is free of charge but sends it these rows;
        ``estimate`` estimates them from the length of the text and sends nothing.

    Raises
    ------
    ConfigurationError or PromptError
        If an error would prevent the run from starting.
    """
    of_the_run = ("cell", "via", "max_concurrent", "trust_file")
    options = {name: value for name, value in arguments.items() if name not in of_the_run}
    sampled, first_error = await _go_through(orchestrator, source, options)
    if count == "api":
        answers, why_not, left = await _count(orchestrator, sampled)
    else:
        answers, why_not, left = [], "no row left this machine", 0
    estimate = BatchEstimate.of(sampled, answers)
    rows: List[Tuple[str, str]] = [
        ("rows", f"{sampled.rows + sampled.broken:,}"),
        ("cached rows", f"{sampled.cached_rows:,}"),
        ("distinct prompts", f"{sampled.distinct:,}"),
        ("to send", f"{sampled.to_send:,}"),
    ]
    if sampled.broken:
        rows.append(("cannot be made", f"{sampled.broken:,}, such as {first_error}"))
    if sampled.to_send:
        rows.append(("tokens in", _tokens(estimate, len(answers), why_not)))
        rows.append(("tokens out", _tokens_out(estimate)))
        rows.append(("price", _price(orchestrator, estimate, "api")))
        rows.append(("price via=batches", _price(orchestrator, estimate, "batches")))
        rows += _moved_to_the_front(orchestrator, source, sampled, options)
        rows.append(("time", _time(orchestrator, estimate)))
    footer = _what_left(orchestrator, left)
    return table_bundle(("dry run", "estimate"), rows, footer=footer)


def _what_left(orchestrator: AsyncAgentOrchestrator, rows: int) -> str:
    """Return a line that says how many rows have left this machine, if any."""
    if not rows:
        return "nothing was sent"
    which = counted(rows, "row") + (" was" if rows == 1 else " were")
    # The name under which requests know the server, since the port of a session's simulator differs each time.
    server = getattr(orchestrator.transport, "known_as", orchestrator.transport.base_url)
    return (
        f"no answer was asked for; {which} sent to {server}, which only counts tokens, "
        "free of charge; count=estimate sends nothing"
    )


async def _go_through(
    orchestrator: AsyncAgentOrchestrator, source: Source, options: Dict[str, Any]
) -> Tuple[Sampled, Optional[ClaudeForceError]]:
    sampled = Sampled()
    first_error: Optional[ClaudeForceError] = None
    mode = CallOptions.of({name: value for name, value in options.items() if name != "template"}).cache
    cache = orchestrator.cache if mode in (None, "on", "only") else None
    yielder = LoopYielder()
    async for _, request in orchestrator.requests(source, **options):
        if isinstance(request, ClaudeForceError):
            sampled.broken += 1
            first_error = first_error or request
        elif sampled.is_new(request):
            answer = None if cache is None else cache.get(request, counted=False)
            if answer is not None:
                sampled.cached(request, answer)
            else:
                sampled.missing(request, content_bytes(request))
        if yielder.is_due:
            await yielder.turn()
    return sampled, first_error


async def _count(orchestrator: AsyncAgentOrchestrator, sampled: Sampled) -> Tuple[List[int], str, int]:
    """Return the token counts of the sample, a reason if they cannot be counted, and the number of rows sent for it."""
    count = getattr(orchestrator.transport, "count_tokens", None)
    if count is None:
        return [], "this server does not count tokens", 0
    rows = len(sampled.sample)
    try:
        calls = (count(request, timeout_seconds=_COUNT_SECONDS) for request, _ in sampled.sample)
        return list(await asyncio.gather(*calls)), "", rows
    except ClaudeForceError as error:
        # If one call failed, it is unknown how many of the others were sent: assume all.
        left = rows if isinstance(error, ApiError) and not error.never_left else 0
        return [], f"they could not be counted: {error}", left


def _tokens(estimate: BatchEstimate, prompts: int, why_not: str) -> str:
    about = f"about {estimate.input_tokens:,.0f}"
    if math.isinf(estimate.input_error):
        return f"{about}, at four bytes a token; {why_not}"
    if not estimate.input_error and prompts >= estimate.sampled.to_send:
        return f"{estimate.input_tokens:,.0f}, counted by the API"
    share = estimate.input_error / estimate.input_tokens if estimate.input_tokens else 0.0
    return f"{about} ± {100 * share:.1f} %, from {counted(prompts, 'prompt')} counted by the API"


def _tokens_out(estimate: BatchEstimate) -> str:
    sampled = estimate.sampled
    most = f"at most {sampled.to_send * sampled.max_tokens:,}"
    if estimate.output_tokens is None:
        return f"{most}, {sampled.max_tokens:,} per answer"
    about = estimate.output_tokens * sampled.to_send
    return f"about {about:,.0f}, as in the {counted(len(sampled.output_tokens), 'cached answer')}; {most}"


def _price(orchestrator: AsyncAgentOrchestrator, estimate: BatchEstimate, via: str) -> str:
    # In message batches the shared part may or may not be read from the prompt cache: the estimate assumes writes and no
    # reads.
    is_shared = any(number > 1 for number, _ in estimate.sampled.shared.values())
    uses_cache = via == "api" and is_shared

    def at(output_tokens: float, *, prompt_cache: bool = uses_cache, found: bool = True) -> Optional[Decimal]:
        return estimate.price(
            orchestrator.prices,
            output_tokens=output_tokens,
            via=via,
            on=today(),
            prompt_cache=prompt_cache,
            found=found,
        )

    most = at(estimate.sampled.max_tokens, prompt_cache=is_shared, found=uses_cache)
    if most is None:
        return "price unknown"
    if estimate.output_tokens is None:
        words = f"{dollars(at(0))} for the prompts, at most {dollars(most)} with answers of any length"
    else:
        words = f"about {dollars(at(estimate.output_tokens))}, at most {dollars(most)}"
    if uses_cache:
        without = at(estimate.output_tokens or 0, prompt_cache=False)
        words += f"; without the prompt cache {dollars(without)}"
    return words


def _moved_to_the_front(
    orchestrator: AsyncAgentOrchestrator, source: Source, sampled: Sampled, options: Mapping[str, Any]
) -> List[Tuple[str, str]]:
    """Return a hint if moving the values that all rows share to the front of the template would save a noticeable amount."""
    template, variables = options.get("template"), options.get("variables") or {}
    if template is None or options.get("prompt_cache") == "off":
        return []
    moved = constants_behind(template, source.columns or ("item",))
    if not moved:
        return []
    tokens = text_tokens(render(" ".join(f"{{{{ {each} }}}}" for each in moved), variables, look=False).text)
    if tokens < rules_for(sampled.model).min_cache_tokens:
        return []
    saving = prompt_cache_saving(orchestrator.prices, sampled.model, tokens=tokens, rows=sampled.to_send, on=today())
    shown = " and ".join(f"{{{{ {each} }}}}" for each in moved)
    return (
        [("to save more", f"put {shown} at the front of the template: about {dollars(saving)} less")] if saving else []
    )


def _time(orchestrator: AsyncAgentOrchestrator, estimate: BatchEstimate) -> str:
    sampled = estimate.sampled
    out = estimate.output_tokens
    needs = {
        "requests": float(sampled.to_send),
        "input-tokens": estimate.input_tokens,
        "output-tokens": None if out is None else out * sampled.to_send,
    }
    family = model_family(sampled.model)
    limits = [(each.kind, each.limit) for each in orchestrator.snapshot().headroom if each.family == family]
    minutes = minutes_at_limits(needs, limits)
    if minutes is None:
        return "unknown until a first answer of this model shows the rate limits"
    return f"at least {duration(60 * minutes)} at the present rate limits"
