"""The simulator's prompt cache: what is written, what is read again, for how long and at what price."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any, Dict, Iterator, List, Optional, Tuple

import aiohttp
import pytest

from claude_force_nb.simulator import Simulator
from claude_force_nb.simulator.failures import ApiFailure
from claude_force_nb.simulator.models import ModelTable
from claude_force_nb.simulator.prompt_cache import PromptCache
from claude_force_nb.simulator.validation import Headers, Validator

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2026-10-21"}
MODEL = "claude-opus-5"  # keeps prefixes from 512 tokens on, three characters each
MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def words(tokens: int, letter: str = "x") -> str:
    return letter * (3 * tokens)


def text(tokens: int, letter: str = "x", **more: Any) -> Dict[str, Any]:
    return {"type": "text", "text": words(tokens, letter), **more}


def user(*blocks: Any) -> Dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def ask(*messages: Any, **more: Any) -> Dict[str, Any]:
    messages = messages or (user(text(10, "q")),)
    return {"model": MODEL, "max_tokens": 4000, "messages": list(messages), **more}


class Api:
    """The validator and the prompt cache alone, with a clock that the test sets."""

    def __init__(self, *betas: str) -> None:
        self._validator = Validator(ModelTable())
        self._headers = Headers("2026-10-21", frozenset(betas))
        self._cache = PromptCache()
        self.now = 1000.0

    def use(self, sent: Dict[str, Any], *, keep: bool = True) -> Tuple[int, int, int, int]:
        """Return the tokens that were not cached, written for 5 minutes, written for an hour, and read."""
        checked = self._validator.check(sent, self._headers)
        assert checked.cache is not None
        assert checked.cache.tokens == checked.input_tokens
        use = self._cache.look_up(checked.cache, checked.model, self.now)
        assert use.usage.prompt_tokens == checked.input_tokens
        if keep:
            self._cache.keep(use)
        return use.usage.input_tokens, use.usage.write_5m_tokens, use.usage.write_1h_tokens, use.usage.read_tokens


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_marked_prefix_is_written_once_and_read_after(api: Api) -> None:
    system = [text(600, **MARK)]
    assert api.use(ask(system=system)) == (13, 600, 0, 0)
    assert api.use(ask(user(text(20, "o")), system=system)) == (23, 0, 0, 600)
    assert api.use(ask(system=[text(600, "y", **MARK)])) == (13, 600, 0, 0)
    assert api.use(ask(system=system, model="claude-sonnet-5")) == (613, 0, 0, 0)


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-haiku-5-5", 512),
        ("claude-opus-4-8", 1024),
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-haiku-4-5", 4096),
    ],
)
def test_what_is_shorter_than_the_model_keeps_is_silently_not_kept(api: Api, model: str, least: int) -> None:
    per_token = 4 if model in ("claude-haiku-4-5", "claude-sonnet-4-6") else 3
    for tokens, kept in ((least - 1, False), (least, True)):
        block = {"type": "text", "text": "x" * (tokens * per_token), **MARK}
        _, written, _, read = api.use(ask(model=model, system=[block]))
        assert (written, read) == ((tokens if kept else 0), 0)


def test_an_entry_lives_from_the_start_of_its_last_use(api: Api) -> None:
    """Five minutes or an hour; a hit renews it, and costs nothing."""
    for mark, seconds, column in ((MARK, 300.0, 1), (HOUR, 3600.0, 2)):
        sent = ask(system=[text(600, str(column), **mark)])
        assert api.use(sent)[column] == 600
        for _ in range(3):
            api.now += seconds - 1
            assert api.use(sent)[3] == 600
        api.now += seconds
        assert api.use(sent)[column] == 600


def test_an_entry_is_not_visible_before_the_answer_begins(api: Api) -> None:
    sent = ask(system=[text(600, **MARK)])
    assert api.use(sent, keep=False)[1] == 600
    assert api.use(sent)[1] == 600
    assert api.use(sent)[3] == 600


def test_a_conversation_reads_what_its_last_turn_wrote(api: Api) -> None:
    """Automatic: the last block of each request is marked, and the one before is found by looking back."""
    auto = {"cache_control": {"type": "ephemeral"}}
    first = [user(text(600))]
    assert api.use(ask(*first, **auto)) == (0, 603, 0, 0)
    more = [*first, {"role": "assistant", "content": [text(50, "a")]}, user(text(10, "b"))]
    assert api.use(ask(*more, **auto)) == (0, 66, 0, 603)
    assert api.use(ask(*more, **auto)) == (0, 0, 0, 669)


@pytest.mark.parametrize(("blocks", "found"), [(19, True), (20, False)])
def test_the_lookback_has_twenty_positions(api: Api, blocks: int, found: bool) -> None:
    """The breakpoint counts as the first."""
    start = text(600, **MARK)
    api.use(ask(user(start)))
    grown = user(text(600), *[text(1, "a")] * (blocks - 1), text(1, "b", **MARK))
    assert (api.use(ask(grown))[3] > 0) == found


def test_runs_of_calls_and_of_results_are_one_position_each(api: Api) -> None:
    names = [f"toolu_{number}" for number in range(30)]
    calls = [{"type": "tool_use", "id": name, "name": "store", "input": {}} for name in names]
    results: List[Any] = [{"type": "tool_result", "tool_use_id": name, "content": "fine"} for name in names]
    tools = [{"name": "store", "input_schema": {"type": "object"}}]
    api.use(ask(user(text(600, **MARK)), tools=tools))
    results[-1] = dict(results[-1], **MARK)
    sent = ask(user(text(600)), {"role": "assistant", "content": calls}, user(*results), tools=tools)
    assert api.use(sent)[3] > 600


def test_longer_lifetimes_come_first_and_are_billed_so(api: Api) -> None:
    """Read up to the highest hit, an hour's write up to the last such breakpoint, five minutes for the rest."""
    api.use(ask(system=[text(600, **HOUR)]))
    sent = ask(user(text(100, "c", **MARK), text(7, "d")), system=[text(600, **HOUR), text(200, "b", **HOUR)])
    assert api.use(sent) == (7, 103, 200, 600)


REFUSED: List[Tuple[Dict[str, Any], Optional[str]]] = [
    (ask(user(text(1, **MARK), text(1, **MARK)), system=[text(1, **MARK), text(1, **MARK)]), None),
    (
        ask(user(*[text(1, **MARK)] * 4), system=[text(1, **MARK)]),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (ask(user(*[text(1, **MARK)] * 4, text(1)), **MARK), "Found 5."),
    (ask(user(*[text(1, **MARK)] * 3, text(1)), **MARK), None),
    (ask(user(*[text(1, **MARK)] * 4), **MARK), None),
    (ask(user(text(1, **HOUR)), **MARK), "Top-level cache_control has ttl='5m' but the target block already has"),
    (ask(user(text(1, **HOUR)), **HOUR), None),
    (
        ask(user(text(1, **HOUR)), system=[text(1, **MARK)]),
        "messages.0.content.0.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m'",
    ),
    (ask(user(text(1, **MARK)), system=[text(1, **HOUR)]), None),
    (ask(user(text(1), text(1)), system=[text(1, **MARK)], **HOUR), "must not come after a ttl='5m'"),
]


@pytest.mark.parametrize(("sent", "message"), REFUSED, ids=lambda value: str(value)[-60:])
def test_how_many_breakpoints_and_in_which_order(sent: Dict[str, Any], message: Optional[str]) -> None:
    validator = Validator(ModelTable())
    if message is None:
        assert validator.check(sent, Headers()).cache is not None
        return
    with pytest.raises(ApiFailure) as caught:
        validator.check(sent, Headers())
    assert caught.value.status == 400
    assert message in caught.value.message


TOOLS = [{"name": "store", "input_schema": {"type": "object"}, "description": words(600), **MARK}]
SYSTEM = [text(600, "s", **MARK)]
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}


def base(**more: Any) -> Dict[str, Any]:
    return {**ask(user(text(600, "m", **MARK))), "tools": TOOLS, "system": SYSTEM, **more}


# What changes, and how much of tools, system and messages is still read.
CHANGES: List[Tuple[Dict[str, Any], int]] = [
    ({}, 3),
    ({"max_tokens": 3000}, 3),
    ({"metadata": {"user_id": "me"}}, 3),
    ({"tool_choice": {"type": "auto"}}, 3),
    ({"output_config": {"effort": "high"}}, 3),
    ({"thinking": {"type": "adaptive"}}, 3),
    ({"tool_choice": {"type": "none"}}, 2),
    ({"output_config": {"effort": "low"}}, 2),
    ({"thinking": {"type": "disabled"}}, 2),
    ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "string"}}}}, 2),
    ({"messages": [user(text(600, "n", **MARK))]}, 2),
    ({"messages": [user(text(600, "m", **MARK), PICTURE)]}, 2),
    ({"system": [text(600, "t", **MARK)]}, 1),
    ({"speed": "fast"}, 1),
    ({"tools": [*TOOLS, {"type": "web_search_20250305", "name": "web_search"}]}, 1),
    ({"tools": [{**TOOLS[0], "description": words(600, "z")}]}, 0),
]


@pytest.mark.parametrize(("change", "kept"), CHANGES, ids=lambda value: str(value)[:60])
def test_what_a_change_invalidates(change: Dict[str, Any], kept: int) -> None:
    """A part is read only where it and all before it are the same, the settings that it depends on included."""
    api = Api("fast-mode-2026-02-01")
    api.use(base())
    read = api.use(base(**change))[3]
    # Tools with what the API adds for them, system, messages: about 600 tokens each.
    assert (read > 600) + (read > 1400) + (read > 2000) == kept


def call(simulator: Simulator, *bodies: Dict[str, Any]) -> List[Any]:
    async def main() -> List[Any]:
        answers = []
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            for sent in bodies:
                async with session.post(simulator.url + "/v1/messages", json=sent) as answer:
                    assert answer.status == 200, await answer.text()
                    answers.append(await answer.text() if sent.get("stream") else await answer.json())
        return answers

    return asyncio.run(main())


@pytest.fixture
def clock() -> List[float]:
    return [0.0]


@pytest.fixture
def simulator(clock: List[float]) -> Iterator[Simulator]:
    with Simulator(clock=lambda: clock[0]) as running:
        yield running


def test_writes_and_reads_are_in_usage_and_on_the_invoice(simulator: Simulator, clock: List[float]) -> None:
    """Plain and streamed, by lifetime; a write costs 1.25 or 2 times the input, a read a tenth of it."""
    sent = ask(system=[text(600, **HOUR), text(600, "y", **MARK)], thinking={"type": "disabled"})
    written, read = call(simulator, sent, sent)
    assert written["usage"]["cache_creation"] == {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 600}
    assert written["usage"]["cache_creation_input_tokens"] == 1200
    assert (written["usage"]["input_tokens"], written["usage"]["cache_read_input_tokens"]) == (13, 0)
    assert (read["usage"]["cache_creation_input_tokens"], read["usage"]["cache_read_input_tokens"]) == (0, 1200)
    counters = simulator.counters
    assert (counters.cache_write_tokens, counters.cache_read_tokens) == (1200, 1200)
    output = written["usage"]["output_tokens"] + read["usage"]["output_tokens"]
    million = Decimal(1_000_000)
    expected = (26 * 5 + 600 * Decimal("6.25") + 600 * 10 + 1200 * Decimal("0.5") + output * 25) / million
    assert counters.dollars == expected
    clock[0] += 301
    (streamed,) = call(simulator, dict(sent, stream=True))
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    for usage in (events[0]["message"]["usage"], events[-2]["usage"]):
        # The second prefix is gone after five minutes, the first is not.
        assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]) == (600, 600)


def test_a_warm_up_fills_the_cache_and_says_nothing(simulator: Simulator) -> None:
    sent = ask(system=[text(600, **MARK)])
    warm, after = call(simulator, dict(sent, max_tokens=0), sent)
    assert (warm["content"], warm["stop_reason"], warm["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert warm["usage"]["cache_creation_input_tokens"] == after["usage"]["cache_read_input_tokens"] == 600


def test_calls_at_once_all_miss_where_none_was_first() -> None:
    """Answers that take their time begin after all requests were read."""

    async def main(simulator: Simulator) -> List[int]:
        async with aiohttp.ClientSession(headers=HEADERS) as session:

            async def one() -> int:
                async with session.post(simulator.url + "/v1/messages", json=ask(system=[text(600, **MARK)])) as answer:
                    return int((await answer.json())["usage"]["cache_read_input_tokens"])

            cold = await asyncio.gather(*[one() for _ in range(5)])
            return [*cold, await one()]

    with Simulator(latency_seconds=0.2) as simulator:
        assert asyncio.run(main(simulator)) == [0, 0, 0, 0, 0, 600]


def test_what_is_read_does_not_count_towards_the_limit() -> None:
    """A second call fits, since only what is new counts as input."""
    sent = ask(system=[text(900, **MARK)])
    with Simulator(input_tokens_per_minute=1000) as simulator:
        first, second = call(simulator, sent, sent)
    assert (first["usage"]["cache_read_input_tokens"], second["usage"]["cache_read_input_tokens"]) == (0, 900)


def test_a_failed_call_leaves_nothing(simulator: Simulator) -> None:
    async def failing() -> int:
        sent = ask(system=[text(600, **MARK)])
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            answer = await session.post(simulator.url + "/v1/messages", json=sent)
            await answer.read()
            return answer.status

    simulator.fail(["overloaded"])
    assert asyncio.run(failing()) == 529
    (after,) = call(simulator, ask(system=[text(600, **MARK)]))
    assert after["usage"]["cache_read_input_tokens"] == 0
    simulator.reset()
    (again,) = call(simulator, ask(system=[text(600, **MARK)]))
    assert again["usage"]["cache_read_input_tokens"] == 0
