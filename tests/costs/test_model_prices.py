"""The shipped table says what its source says, wherever the source can be installed (Python 3.11 and newer)."""

from __future__ import annotations

import datetime
import itertools
import random
import runpy
from decimal import Decimal
from pathlib import Path

import pytest

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.usage import Usage

genai_prices = pytest.importorskip("genai_prices", reason="genai-prices, the source of the prices, is not installed")
TABLE = load_prices()
if TABLE.source != "genai-prices " + genai_prices.__version__:
    reason = "table from {}, installed is {}: run tools/update_prices.py"
    pytest.skip(reason.format(TABLE.source, genai_prices.__version__), allow_module_level=True)

BATCHES_KNOWN_FROM = datetime.date(2026, 10, 14)
DAYS = [datetime.date(2026, 3, 12), datetime.date(2026, 3, 13), datetime.date(2026, 10, 13), BATCHES_KNOWN_FROM]
SIZES = [0, 1, 7, 99_999, 100_000, 100_001, 199_999, 200_000, 200_001, 950_000]
# Models that cost what another does, by the documentation, and that the source lacks.
OTHER_NAMES = {"claude-mythos-5": "claude-fable-5", "claude-mythos-5-1": "claude-fable-5-1"}
TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "update_prices.py"


def usages():
    yield from (Usage(input_tokens=size, output_tokens=100) for size in SIZES)
    chosen = random.Random(7)
    for _ in range(40):
        yield Usage(
            *(chosen.choice(SIZES) // chosen.choice([1, 2, 5]) for _ in range(5)), web_searches=chosen.choice([0, 3])
        )


def theirs(model, usage, on, context):
    found = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.total_input_tokens,
            cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            output_tokens=usage.output_tokens,
            web_searches=usage.web_searches,
        ),
        OTHER_NAMES.get(model, model),
        provider_id="anthropic",
        genai_request_timestamp=datetime.datetime(on.year, on.month, on.day, 12),
        price_context=context,
    )
    return found.total_price


def variants(model):
    provider = next(item for item in genai_prices.data_snapshot.get_snapshot().providers if item.id == "anthropic")
    found = provider.find_model(OTHER_NAMES.get(model, model))
    return [tuple(variant.when.items()) for variant in found.price_variants or ()]


@pytest.mark.parametrize("model", TABLE.models())
def test_costs_equal_the_sources(model):
    """Every model, many usages, days on each side of every start date: the same Decimal."""
    for usage, on in itertools.product(usages(), DAYS):
        ours = TABLE.cost(model, usage, on=on)
        if ours is None:
            assert usage.web_searches, usage
            continue
        assert ours == theirs(model, usage, on, None), (usage, on)


@pytest.mark.parametrize("model", TABLE.models())
def test_batch_and_fast_equal_the_sources(model):
    """Where the source knows a batch or fast price, ours is the same; where it knows no fast price, ours is None."""
    known = variants(model)
    for usage in usages():
        batch = Usage(**{**usage.__dict__, "service_tier": "batch"})
        if (("processing", "batch"),) in known:
            context = {"processing": "batch"}
            assert TABLE.cost(model, batch, on=BATCHES_KNOWN_FROM) == theirs(model, usage, BATCHES_KNOWN_FROM, context)
        fast = TABLE.cost(model, Usage(**{**usage.__dict__, "speed": "fast"}), on=BATCHES_KNOWN_FROM)
        if (("speed", "fast"),) in known:
            assert fast == theirs(model, usage, BATCHES_KNOWN_FROM, {"speed": "fast"})
        else:
            assert fast is None


def test_names_are_matched_as_the_source_matches_them():
    """Suffixes, dates and near misses of every name find the same model, or none, in both."""
    provider = next(item for item in genai_prices.data_snapshot.get_snapshot().providers if item.id == "anthropic")
    endings = [
        "",
        "-latest",
        "-20251001",
        "-2025-10-01",
        "@20251001",
        "-20259901",
        "-20251001-v1:0",
        "-1",
        "x",
        "-fast",
    ]
    for name, ending in itertools.product(sorted(set(TABLE.models()) - set(OTHER_NAMES)), endings):
        for spelling in (name + ending, name.upper() + ending, name.replace("-5", ".5") + ending, "anthropic." + name):
            found = provider.find_model(spelling)
            ours = TABLE.find(spelling)
            assert (ours and ours.id) == (found and found.id), spelling
            assert TABLE.context_window(spelling) == (found.context_window if found else None)


def test_the_shipped_table_is_what_the_tool_writes(capsys):
    """``--check`` finds nothing to change, and generation does not depend on the clock."""
    tool = runpy.run_path(str(TOOL))
    assert tool["main"](["--check"]) == 0
    assert capsys.readouterr().out == ""
    assert tool["render"](tool["build"]()) == tool["render"](tool["build"]())


def test_the_tool_names_each_changed_model():
    """A changed, a new and a dropped model are one line each."""
    tool = runpy.run_path(str(TOOL))
    old, new = tool["build"](), tool["build"]()
    assert tool["differences"](old, new) == []
    new["models"]["claude-opus-5-5"]["prices"][0]["input_mtok"] = "9"
    new["models"]["claude-new"] = {}
    del new["models"]["claude-2"]
    lines = tool["differences"](old, new)
    assert [line.split(":")[0] for line in lines] == ["claude-2", "claude-new", "claude-opus-5-5"]


def test_the_table_is_not_older_than_its_newest_start():
    """The date of the table is the newest that its source states."""
    starts = [period.starts for name in TABLE.models() for period in TABLE.find(name).periods if period.starts]
    assert TABLE.dated >= max(starts)
    assert isinstance(TABLE.find("claude-opus-5-5").periods[0].tiers[0].input_mtok, Decimal)
