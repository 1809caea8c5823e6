"""The price table: exact amounts, None for what is not known, bounds that hold."""

from __future__ import annotations

import datetime
import decimal
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

import claude_force_nb
from claude_force_nb.costs.model_prices import ModelPrices
from claude_force_nb.costs.pricing import PriceTable, load_prices, resolve_model
from claude_force_nb.errors import OptionError, UnknownModelError
from claude_force_nb.messages.models import CURRENT_MODELS
from claude_force_nb.messages.usage import Usage
from claude_force_nb.simulator.models import ModelTable
from claude_force_nb.simulator.prices import Terms, TokenUsage, dollars

ROOT = str(Path(claude_force_nb.__file__).parent.parent)
TABLE = load_prices()
ON = datetime.date(2026, 11, 1)
MODELS = TABLE.models()
TIERED = [name for name in MODELS if any(len(period.tiers) > 1 for period in TABLE.find(name).periods)]
FLAT = [name for name in MODELS if name not in TIERED]
tokens = st.integers(0, 1_000_000)
usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens, service_tier=st.sampled_from(["standard", "batch"]))


def cost(model, **usage):
    return TABLE.cost(model, Usage(**usage), on=ON)


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        ("claude-sonnet-5-5", {"input_tokens": 512, "output_tokens": 230}, "0.003324"),
        ("claude-haiku-4-5", {"input_tokens": 1}, "0.000001"),
        ("claude-haiku-5-5", {"input_tokens": 1, "output_tokens": 1}, "0.0000006"),
        ("claude-fable-5-2", {"input_tokens": 1_000_000, "output_tokens": 1_000_000}, "48"),
        ("claude-opus-5-5", {"cache_write_5m_tokens": 1000}, "0.005"),
        ("claude-opus-5-5", {"cache_write_1h_tokens": 1000}, "0.008"),
        ("claude-opus-5-5", {"cache_read_tokens": 1000}, "0.0002"),
        ("claude-opus-5-5", {"web_searches": 3}, "0.03"),
        ("claude-opus-5-5", {"input_tokens": 1000, "output_tokens": 1000, "service_tier": "batch"}, "0.012"),
        ("claude-opus-5-5", {"cache_read_tokens": 1000, "web_searches": 1, "service_tier": "batch"}, "0.0101"),
        ("claude-opus-5-5", {"input_tokens": 1000, "output_tokens": 1000, "speed": "fast"}, "0.048"),
        ("claude-opus-5-5", {"input_tokens": 1000, "web_searches": 1, "speed": "fast"}, "0.018"),
        ("claude-opus-5-5", {"input_tokens": 1000, "service_tier": "priority"}, "0.004"),
        ("claude-opus-4-1", {"input_tokens": 1000, "service_tier": "batch"}, "0.0075"),
        ("claude-opus-5-5", {"input_tokens": 1000, "web_searches": 1, "inference_geo": "us"}, "0.0144"),
        ("claude-2", {"cache_read_tokens": 1000, "cache_write_1h_tokens": 1000}, "0.016"),
        ("claude-haiku-4-5-20251001", {"output_tokens": 1000}, "0.005"),
    ],
)
def test_cost_is_exact(model, usage, dollars):
    """Each kind of token costs its own rate."""
    assert cost(model, **usage) == Decimal(dollars)


def test_nothing_used_costs_nothing():
    """No tokens of a known model cost 0, written as 0."""
    assert str(cost("claude-opus-5-5")) == "0"


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("gpt-4", {}),
        ("", {}),
        ("sonnet", {}),
        ("claude-sonnet-9", {}),
        ("claude-haiku-4-5", {"input_tokens": 1, "speed": "fast"}),
        ("claude-opus-5-5", {"input_tokens": 1, "speed": "fast", "service_tier": "batch"}),
        ("claude-opus-5-5", {"input_tokens": 1, "speed": "mixed"}),
        ("claude-opus-5-5", {"input_tokens": 1, "service_tier": "mixed"}),
        ("claude-opus-5-5", {"input_tokens": 1, "inference_geo": "eu"}),
        ("claude-2", {"web_searches": 1}),
    ],
)
def test_an_unknown_price_is_none(model, usage):
    """What the table has no price for is None, not 0."""
    assert cost(model, **usage) is None


@pytest.mark.parametrize(("total", "rate"), [(99_999, 1), (100_000, 1), (100_001, 5)])
def test_a_tier_is_over_its_threshold(total, rate):
    """At the threshold the base rate holds, one token over it the tier, for every token and kind."""
    usage = {"input_tokens": total - 2000, "cache_read_tokens": 1000, "cache_write_5m_tokens": 500}
    usage.update(cache_write_1h_tokens=500, output_tokens=1000)
    base = (total - 2000) * Decimal("0.1") + Decimal("10") + Decimal("62.5") + Decimal("100") + Decimal("500")
    assert cost("claude-haiku-5-5", **usage) == base * rate / 10**6
    assert cost("claude-haiku-5-5", service_tier="batch", **usage) == base * rate / 10**6 / 2


@pytest.mark.parametrize(
    ("day", "dollars"), [("2026-03-12", "2.0000100"), ("2026-03-13", "1.000005"), ("2026-11-01", "1.000005")]
)
def test_a_start_date_counts_from_its_day(day, dollars):
    """The day before a start has the old price, the day itself the new one."""
    usage = Usage(input_tokens=200_001)
    assert TABLE.cost("claude-opus-4-6", usage, on=datetime.date.fromisoformat(day)) == Decimal(dollars)


def test_a_moment_counts_by_its_utc_day():
    """A datetime is taken to UTC first, as the source does."""
    usage = Usage(input_tokens=200_001)
    zone = datetime.timezone(datetime.timedelta(hours=-5))
    assert TABLE.cost("claude-opus-4-6", usage, on=datetime.datetime(2026, 3, 12, 18, 59, tzinfo=zone)) == Decimal(
        "2.00001"
    )
    assert TABLE.cost("claude-opus-4-6", usage, on=datetime.datetime(2026, 3, 12, 19, 0, tzinfo=zone)) == Decimal(
        "1.000005"
    )


def test_today_is_the_default():
    """Without a day, today's price counts."""
    assert TABLE.cost("claude-opus-4-6", Usage(input_tokens=200_001)) == Decimal("1.000005")


def test_the_notebooks_decimal_context_does_not_matter():
    """A notebook that works with three digits still gets exact dollars."""
    with decimal.localcontext() as context:
        context.prec = 3
        assert cost("claude-sonnet-5-5", input_tokens=123_457, output_tokens=7) == Decimal("0.246984")
        assert TABLE.bound("claude-sonnet-5-5", input_tokens=123_457, max_tokens=7, on=ON) == Decimal("0.246984")


@given(st.sampled_from(MODELS), usages, st.sampled_from(["input_tokens", "output_tokens", "cache_read_tokens"]), tokens)
def test_more_tokens_never_cost_less(model, usage, kind, more):
    """Cost is monotone in every count, and never negative."""
    larger = Usage(**{**usage.__dict__, kind: getattr(usage, kind) + more})
    assert 0 <= TABLE.cost(model, usage, on=ON) <= TABLE.cost(model, larger, on=ON)


@given(st.sampled_from(FLAT), usages, usages)
def test_flat_prices_add_up(model, one, two):
    """Where there are no tiers, the cost of a sum is the sum of the costs."""
    two = Usage(**{**two.__dict__, "service_tier": one.service_tier})
    assert TABLE.cost(model, one + two, on=ON) == TABLE.cost(model, one, on=ON) + TABLE.cost(model, two, on=ON)


@given(
    st.sampled_from(MODELS),
    st.integers(0, 400_000),
    st.integers(0, 64_000),
    st.lists(st.integers(0, 100), min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["2026-03-12", "2026-03-13", "2026-11-01"]),
)
@settings(max_examples=examples(300))
def test_a_bound_holds_for_every_usage_within_it(model, input_tokens, max_tokens, shares, caching, batch, day):
    """No usage that a request may meet costs more than its bound, on the day of sending or the next."""
    on = datetime.date.fromisoformat(day)
    total = max(sum(shares), 1)
    parts = [input_tokens * share // total for share in shares]
    if caching:
        usage = Usage(parts[0], max_tokens, parts[1], parts[2], parts[3], service_tier="batch" if batch else "standard")
    else:
        usage = Usage(sum(parts), max_tokens * shares[0] // 100, service_tier="batch" if batch else "standard")
    bound = TABLE.bound(
        model, input_tokens=input_tokens, max_tokens=max_tokens, on=on, batch=batch, cache_ttl="1h" if caching else None
    )
    assert TABLE.cost(model, usage, on=on) <= bound
    assert TABLE.cost(model, usage, on=on + datetime.timedelta(days=1)) <= bound
    unbatched = TABLE.bound(
        model, input_tokens=input_tokens, max_tokens=max_tokens, on=on, cache_ttl="1h" if caching else None
    )
    assert bound <= unbatched


def test_bounds_are_the_worst_case():
    """Input and full output; one-hour writes only where caching is asked for; half for a batch; None where unknown."""

    def bound(model="claude-sonnet-5-5", **extra):
        return TABLE.bound(model, input_tokens=1000, max_tokens=1000, on=ON, **extra)

    assert bound() == Decimal("0.012")
    assert bound(cache_ttl="1h") == Decimal("0.014")
    assert bound(batch=True) == Decimal("0.006")
    assert bound(web_searches=2) == Decimal("0.032")
    assert bound(web_searches=2, batch=True) == Decimal("0.026")
    assert bound("claude-opus-5-5", fast=True) == Decimal("0.048")
    assert bound(fast=True) is None
    assert bound(inference_geo="us") == Decimal("0.0132")
    assert bound(inference_geo="eu") is None
    assert bound("claude-opus-5-5", fast=True, batch=True) is None
    assert bound("claude-2", web_searches=1) is None
    assert bound("gpt-4") is None
    assert TABLE.bound("claude-sonnet-5-5", input_tokens=0, max_tokens=0, on=ON) == 0


@pytest.mark.parametrize(("total", "dollars"), [(100_000, "0.0105"), (100_001, "0.0525005")])
def test_a_bound_takes_the_tier_that_the_input_can_reach(total, dollars):
    """The tier starts over its threshold, for output too."""
    assert TABLE.bound("claude-haiku-5-5", input_tokens=total, max_tokens=1000, on=ON) == Decimal(dollars)


def test_a_bound_sees_tomorrows_price():
    """An answer that comes after midnight does not pass the bound, whichever price is higher."""
    cheap = {"input_mtok": "1", "output_mtok": "1"}
    table = PriceTable([TABLE.with_overrides({"m": cheap}).find("m")], aliases={}, dated=ON, source="test")
    model = table.find("m")
    dear = type(model.periods[0])(ON, tuple(type(r)(*[Decimal(9)] * 5) for r in model.periods[0].tiers))
    table = PriceTable([type(model)("m", ("m",), (model.periods[0], dear))], aliases={}, dated=ON, source="test")
    day = datetime.timedelta(days=1)
    bounds = [table.bound("m", input_tokens=10**6, max_tokens=0, on=ON + day * shift) for shift in (-2, -1, 0)]
    assert bounds == [1, 9, 9]


@pytest.mark.parametrize(
    ("spelling", "model"),
    [
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("Claude-Haiku-4.5", "claude-haiku-4-5"),
        ("claude-sonnet-5-5-20261001", "claude-sonnet-5-5"),
        ("claude-sonnet-5", "claude-sonnet-5"),
        ("claude-opus-5-20260601", "claude-opus-5"),
        ("claude-opus-5-2026-06-01", "claude-opus-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("claude-opus-4-20250514", "claude-opus-4-0"),
        ("anthropic.claude-v2", "claude-2"),
    ],
)
def test_find_knows_dated_names_and_spellings(spelling, model):
    """Names as the API returns them find the model they mean."""
    assert TABLE.find(spelling).id == model


@pytest.mark.parametrize("name", ["claude-sonnet-5-6", "claude-opus-5-50", "claude-opus-6", "haiku", "", "claude"])
def test_find_does_not_guess(name):
    """A name that the source does not match has no price."""
    assert TABLE.find(name) is None
    assert TABLE.context_window(name) is None


def test_spellings_of_every_kind():
    """A name, its beginning, a part of it, or a regular expression; each as it stands, and in order."""
    prices = TABLE.find("claude-haiku-4-5").periods
    spelled = ModelPrices("m", ("name", "begin*", "*part*", r"/^x-[0-9]+$/"), prices)
    for name in ("name", "begin", "begin-and-more", "part", "a-part-of-it", "x-1", "x-123"):
        assert spelled.matches(name), name
    for name in ("names", "a-name", "not-begin", "par", "art", "y-x-1", "-1", "x-", "x-1a", ""):
        assert not spelled.matches(name), name


def test_every_model_finds_itself():
    """Each listed name is matched by its own entry, and aliases lead to listed names."""
    assert [TABLE.find(name).id for name in MODELS] == list(MODELS)
    assert list(TABLE.aliases) == ["fable", "haiku", "mythos", "opus", "sonnet"]
    assert all(name in MODELS for name in TABLE.aliases.values())
    with pytest.raises(TypeError):
        TABLE.aliases["haiku"] = "x"


def test_the_table_says_where_it_is_from():
    """Source and date are part of the table."""
    assert TABLE.source.startswith("genai-prices ")
    assert datetime.date(2026, 1, 1) < TABLE.dated
    assert TABLE.context_window("claude-haiku-4-5-20251001") == 200_000
    assert repr(TABLE) == f"PriceTable({len(MODELS)} models, {TABLE.source}, dated {TABLE.dated})"


@pytest.mark.parametrize("alias", sorted(TABLE.aliases))
def test_an_alias_is_the_newest_of_its_line(alias):
    """No model of the line has a higher version than the one that the alias stands for."""

    def version(name):
        return [int(part) for part in re.findall(r"\d+", re.sub(r"-20\d{6}", "", name))]

    line = [name for name in MODELS if re.match(rf"claude-{alias}-\d", name)]
    assert version(TABLE.aliases[alias]) == max(map(version, line))


def test_overrides_come_first():
    """A user's price adds a model, replaces a known one under all its spellings, or one dated name alone."""
    table = TABLE.with_overrides(
        {
            "Llama3": {"input_mtok": 0, "output_mtok": 0, "context_window": 8192},
            "haiku": {"input_mtok": 0.1, "output_mtok": "2"},
            "claude-opus-4-5-20251101": {"input_mtok": Decimal("7"), "output_mtok": 8, "batch_factor": 1},
        }
    )
    usage = Usage(input_tokens=1000)
    assert table.cost("llama3", usage) == 0
    assert table.context_window("llama3") == 8192
    assert table.cost("claude-haiku-5-5-20260901", usage) == Decimal("0.0001")
    assert table.context_window("claude-haiku-5-5") == 1_000_000
    assert table.cost("claude-opus-4-5-20251101", usage) == Decimal("0.007")
    assert table.cost("claude-opus-4-5-20251101", Usage(input_tokens=1000, service_tier="batch")) == Decimal("0.007")
    assert table.cost("claude-opus-4-5", usage) == Decimal("0.005")
    assert table.with_overrides({"llama3": {"input_mtok": 1, "output_mtok": 1}}).cost("llama3", usage) == Decimal(
        "0.001"
    )
    assert TABLE.cost("llama3", usage) is None
    assert (table.source, table.dated, table.aliases) == (TABLE.source, TABLE.dated, TABLE.aliases)


def test_an_override_prices_cache_tokens_on_the_safe_side():
    """What the user leaves out is not underestimated: reads as input, writes at 1.25 and 2 times it."""
    table = TABLE.with_overrides({"m": {"input_mtok": 4, "output_mtok": 0}})
    usages = [Usage(cache_read_tokens=1000), Usage(cache_write_5m_tokens=1000), Usage(cache_write_1h_tokens=1000)]
    assert [table.cost("m", usage) for usage in usages] == [Decimal("0.004"), Decimal("0.005"), Decimal("0.008")]
    assert table.cost("m", Usage(web_searches=1)) is None


@pytest.mark.parametrize(
    "overrides",
    [
        ["m"],
        {"": {"input_mtok": 1, "output_mtok": 1}},
        {3: {"input_mtok": 1, "output_mtok": 1}},
        {"m": 3},
        {"m": {"input_mtok": 1}},
        {"m": {"input_mtok": 1, "output_mtok": 1, "outptu": 1}},
        {"m\nn": {"input_mtok": 1, "output_mtok": "x" * 500}},
        *(
            {"m": {"input_mtok": bad, "output_mtok": 1}}
            for bad in [-1, "nan", "inf", True, None, "", [], 1e300, 1e-300]
        ),
        *({"m": {"input_mtok": 1, "output_mtok": 1, "context_window": bad}} for bad in [0, "9", True, 1.5]),
    ],
)
def test_a_bad_override_is_one_line(overrides):
    """A bad entry is an OptionError of one line that names prices."""
    with pytest.raises(OptionError, match="prices") as caught:
        TABLE.with_overrides(overrides)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "official", "model"),
    [
        ("sonnet", True, "claude-sonnet-5-5"),
        (" Haiku ", True, "claude-haiku-5-5"),
        ("fable", False, "claude-fable-5-2"),
        ("mythos", True, "claude-mythos-5-2"),
        ("opus", True, "claude-opus-5-5"),
        ("claude-sonnet-9-20300101", True, "claude-sonnet-9-20300101"),
        ("claude-2", True, "claude-2"),
        ("mistral:latest", False, "mistral:latest"),
        ("qwen2", False, "qwen2"),
        ("anthropic/claude-opus-5", False, "anthropic/claude-opus-5"),
    ],
)
def test_resolve_gives_full_names(name, official, model):
    """Aliases become full names, full names stay."""
    assert resolve_model(name, TABLE, official=official) == model


ALIASES = "(aliases: fable, haiku, mythos, opus, sonnet)"
ELSEWHERE = "; give another server's model by its full id, e.g. mistral:latest"


@pytest.mark.parametrize(
    ("name", "official", "message"),
    [
        ("sonet", True, "unknown model 'sonet'; did you mean 'sonnet'? " + ALIASES),
        ("sonet", False, "unknown model 'sonet'; did you mean 'sonnet'? " + ALIASES + ELSEWHERE),
        ("sonnet5", False, "unknown model 'sonnet5'; did you mean 'sonnet'? " + ALIASES + ELSEWHERE),
        ("mistral", False, "unknown model 'mistral' " + ALIASES + ELSEWHERE),
        ("mistral:latest", True, "unknown model 'mistral:latest' " + ALIASES),
        ("haiku-4-5", True, "unknown model 'haiku-4-5'; did you mean 'claude-haiku-4-5'? " + ALIASES),
        ("", True, "model is empty; name one " + ALIASES),
        (" \n", False, "model is empty; name one " + ALIASES),
        ("a\nb", True, "unknown model 'a\\nb' " + ALIASES),
    ],
)
def test_resolve_refuses_slips_in_one_line(name, official, message):
    """A slip is refused before anything is sent, with the nearest match."""
    with pytest.raises(UnknownModelError) as caught:
        resolve_model(name, TABLE, official=official)
    assert str(caught.value) == message


def test_a_model_the_user_priced_may_be_a_bare_word():
    """A name in the table is a model, whatever it looks like."""
    table = TABLE.with_overrides({"sonet": {"input_mtok": 0, "output_mtok": 0}})
    assert resolve_model("sonet", table) == "sonet"


def test_importing_is_light():
    """Importing the module reads no table and brings in no resource machinery, network or IPython."""
    script = (
        "import sys; import claude_force_nb.costs.pricing as p;"
        "bad = {'importlib.resources', 'importlib.metadata', 'pkgutil', 'difflib', 'IPython', 'anthropic', 'sqlite3', 'asyncio'};"
        "import json; print(json.dumps([sorted(bad & set(sys.modules)), p.load_prices.cache_info().misses]))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, check=True, env={"PYTHONPATH": ROOT}
    )
    assert json.loads(done.stdout.decode()) == [[], 0]


@pytest.mark.parametrize("name", [rules.name for rules in CURRENT_MODELS if rules.name != "claude-mythos-preview"])
def test_every_current_model_costs_what_the_simulator_bills(name: str) -> None:
    """The simulator has the API's price list from data of its own; the preview is in no list."""
    full_name = ModelTable().get(name).name  # type: ignore[union-attr]
    for place in range(5):
        tokens = [0] * 5
        tokens[place] = 90_000
        usage = Usage(*tokens)
        billed = TokenUsage(*tokens)
        assert load_prices().cost(name, usage) == dollars(full_name, billed)
        batch = dollars(full_name, billed, Terms(batch=True))
        assert load_prices().cost(name, usage.in_batch()) == batch
