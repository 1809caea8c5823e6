"""Write ``claude_force_nb/costs/prices.json`` from the data of the package genai-prices.

::

    python tools/update_prices.py            write the table; print what changed, and which models of messages/models.py
                                             need a look
    python tools/update_prices.py --check    write nothing; name each model that differs, exit status 1 if any does

``make prices`` installs the newest genai-prices and SDK first, and updates the pages afterwards.

Needs Python 3.11 or newer and the desired version of genai-prices. The result depends on its data alone, never on the
clock: ``dated`` is the newest date in the Anthropic entries themselves (a price's start, or "as of" in a comment),
since the package does not state the date of its data.

This script relies on two rules of the source, and checks them so that a change stops here and not in a bill: a batch
costs half the standard price of every token; the only conditions on a price are a start date, a batch and fast speed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, get_args

from claude_force_nb.messages.models import CURRENT_MODELS, rules_for

PRICES = Path(__file__).resolve().parent.parent / "claude_force_nb" / "costs" / "prices.json"

# The source's names by ours; it has one price for five-minute writes, named cache_write_mtok.
RATES = {
    "input_mtok": "input_mtok",
    "output_mtok": "output_mtok",
    "cache_read_mtok": "cache_read_mtok",
    "cache_write_5m_mtok": "cache_write_mtok",
    "cache_write_1h_mtok": "cache_write_1h_mtok",
}
SEARCHES = "web_searches_kcount"
# Models that the source lacks, by the model with which they share a row in the documentation's price list ("Pricing",
# October 2026).
SAME_PRICE = {"claude-mythos-5": "claude-fable-5", "claude-mythos-5-1": "claude-fable-5-1"}
LINE_OF_MODELS = re.compile(r"claude-([a-z]+)-(\d+)(?:-(\d+))?")
AS_OF = re.compile(r"as of (\d{4}-\d{2}-\d{2})")


def _amount(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _patterns(clause: Any) -> Iterator[str]:
    """Yield the patterns of a match rule: ``name``, ``prefix*``, ``*part*``, ``/regex/``."""
    kind = type(clause).__name__
    if kind == "ClauseOr":
        for part in clause.or_:
            yield from _patterns(part)
    elif kind == "ClauseEquals":
        yield clause.equals
    elif kind == "ClauseStartsWith":
        yield clause.starts_with + "*"
    elif kind == "ClauseContains":
        yield "*" + clause.contains + "*"
    elif kind == "ClauseRegex":
        yield "/" + clause.regex + "/"
    else:
        raise SystemExit(f"cannot spell the match rule {kind}")


def _starts(price: Any) -> List[int]:
    values = price.__dict__.values()
    return sorted({tier.start for value in values if hasattr(value, "tiers") for tier in value.tiers})


def _at(value: Any, start: Optional[int]) -> Optional[Decimal]:
    """Return the price in `value` for a request of more than `start` input tokens; None is the base price."""
    if value is None or isinstance(value, Decimal):
        return value
    price: Decimal = value.base
    for tier in value.tiers:
        if start is not None and tier.start <= start:
            price = tier.price
    return price


def _rates(price: Any, start: Optional[int]) -> Dict[str, str]:
    found = {ours: _at(price.__dict__.get(theirs), start) for ours, theirs in RATES.items()}
    return {name: _amount(value) for name, value in found.items() if value is not None}


def _period(model: str, price: Any) -> Dict[str, Any]:
    unknown = {key for key, value in price.__dict__.items() if value is not None} - set(RATES.values()) - {SEARCHES}
    if unknown:
        raise SystemExit("{}: unknown kinds of price: {}".format(model, ", ".join(sorted(unknown))))
    row: Dict[str, Any] = dict(_rates(price, None))
    if price.__dict__.get(SEARCHES) is not None:
        row[SEARCHES] = _amount(price.__dict__[SEARCHES])
    tiers = [{"over_input_tokens": start, **_rates(price, start)} for start in _starts(price)]
    if tiers:
        row["tiers"] = tiers
    return row


def _periods(model: Any) -> Iterator[Tuple[Optional[str], Any]]:
    if not isinstance(model.prices, list):
        yield None, model.prices
        return
    last = ""
    for index, conditional in enumerate(model.prices):
        constraint = conditional.constraint
        kind = type(constraint).__name__
        start = None if constraint is None else str(getattr(constraint, "start_date", ""))
        if (index == 0) != (start is None) or (start or "") < last or kind not in ("NoneType", "StartDateConstraint"):
            raise SystemExit(f"{model.id}: prices are not a base followed by start dates in order")
        last = start or ""
        yield start, conditional.prices


def _check_batch(model: Any, variant: Any, standard: Any) -> None:
    for key, value in variant.prices.__dict__.items():
        for start in [None, *_starts(standard)]:
            full, half = _at(standard.__dict__.get(key), start), _at(value, start)
            if half is not None and (full is None or half * 2 != full):
                raise SystemExit(f"{model.id}: the batch price of {key} is not half the standard one")


def _model(model: Any) -> Dict[str, Any]:
    entry: Dict[str, Any] = {"match": list(dict.fromkeys(_patterns(model.match)))}
    if model.context_window is not None:
        entry["context_window"] = model.context_window
    entry["prices"] = []
    standard = None
    for start, standard in _periods(model):
        row = _period(model.id, standard)
        entry["prices"].append(row if start is None else {"from": start, **row})
    for variant in model.price_variants or ():
        if variant.when == {"processing": "batch"}:
            _check_batch(model, variant, standard)
        elif variant.when == {"speed": "fast"} and variant.constraint is None:
            entry["fast"] = _period(model.id, variant.prices)
        else:
            raise SystemExit(f"{model.id}: unknown condition {variant.when}")
    return entry


def _dates(provider: Any) -> Iterator[str]:
    yield from AS_OF.findall(provider.price_comments or "")
    for model in provider.models:
        yield from AS_OF.findall(model.price_comments or "")
        yield from (start for start, _ in _periods(model) if start)
        yield from (str(item.constraint.start_date) for item in model.price_variants or () if item.constraint)


def _newest(models: Dict[str, Any]) -> Dict[str, str]:
    lines: Dict[str, Tuple[Tuple[int, int], str]] = {}
    for name in models:
        found = LINE_OF_MODELS.fullmatch(name)
        if found:
            version = (int(found.group(2)), int(found.group(3) or 0))
            lines[found.group(1)] = max(lines.get(found.group(1), (version, name)), (version, name))
    return {line: name for line, (_, name) in sorted(lines.items())}


def _add_same_price(models: Dict[str, Any]) -> Dict[str, Any]:
    """Return the models in order, with the models of `SAME_PRICE` added."""
    added = dict(models)
    for name, other in SAME_PRICE.items():
        if name not in models:
            spellings = [spelling.replace(other, name) for spelling in models[other]["match"] if other in spelling]
            added[name] = {**models[other], "match": spellings}
    return dict(sorted(added.items()))


def build() -> Dict[str, Any]:
    """Return the table as JSON data."""
    import genai_prices
    from genai_prices.data import providers

    provider = next(item for item in providers if item.id == "anthropic")
    models = {model.id: _model(model) for model in provider.models}
    if list(models) != sorted(models):
        raise SystemExit("the source is not sorted by model any more; its order decides which match wins")
    return {
        "source": f"genai-prices {genai_prices.__version__}",
        "dated": max(_dates(provider)),
        "batch_factor": "0.5",
        "aliases": _newest(models),
        "models": _add_same_price(models),
    }


def render(table: Dict[str, Any]) -> str:
    """Return the table as text with one line per price, so that a price change is a diff of one line."""
    lines = ["{"]
    for key in ("source", "dated", "batch_factor", "aliases"):
        lines.append(f"  {json.dumps(key)}: {json.dumps(table[key])},")
    lines.append('  "models": {')
    for name, entry in table["models"].items():
        lines.append(f"    {json.dumps(name)}: {{")
        for key, value in entry.items():
            comma = "" if key == list(entry)[-1] else ","
            if key == "prices":
                rows = ",\n".join("        " + json.dumps(row) for row in value)
                lines.append(f'      "prices": [\n{rows}\n      ]{comma}')
            else:
                lines.append(f"      {json.dumps(key)}: {json.dumps(value)}{comma}")
        lines.append("    }" if name == list(table["models"])[-1] else "    },")
    lines += ["  }", "}", ""]
    return "\n".join(lines)


def differences(old: Dict[str, Any], new: Dict[str, Any]) -> List[str]:
    """Return a line for each difference between two tables."""
    lines = [f"{key}: {old.get(key)} -> {new[key]}" for key in new if key != "models" and old.get(key) != new[key]]
    was, now = old.get("models", {}), new["models"]
    for name in sorted(set(was) | set(now)):
        if was.get(name) != now.get(name):
            lines.append(f"{name}: {json.dumps(was.get(name))} -> {json.dumps(now.get(name))}")
    return lines


def sdk_models() -> List[str]:
    """Return the names of the models that the installed SDK knows."""
    from anthropic.types import model

    return sorted({name for part in get_args(model.Model) for name in get_args(part)})


def models_to_look_at(names: Iterable[str], today: datetime.date) -> List[str]:
    """Return a line for each model without rules in ``messages/models.py``, and for each model there that is gone.

    Those rules are copied from the documentation by hand, each with its source, since no package has them as data.

    Parameters
    ----------
    names : iterable of str
        Model names in the price table and in the SDK.
    today : datetime.date
    """
    lines = []
    for name in sorted(set(names)):
        rules = rules_for(name)
        if not rules.known and _is_current(name):
            lines.append(f"{name}: messages/models.py has no rules of its own; add them, with their source")
    for rules in CURRENT_MODELS:
        if rules.retirement_announced and rules.retires is not None and rules.retires <= today:
            lines.append(
                f"{rules.name}: retired on {rules.retires}; in messages/models.py it belongs to those that are gone"
            )
    return lines


def _is_current(name: str) -> bool:
    """Return whether a model is of version 4.5 or later; earlier ones share common rules."""
    found = LINE_OF_MODELS.match(name)
    return found is not None and (int(found.group(2)), int(found.group(3) or 0)) >= (4, 5)


def main(arguments: Optional[List[str]] = None) -> int:
    """Write or check the table; return the exit status."""
    parser = argparse.ArgumentParser(description="Write costs/prices.json from genai-prices.")
    parser.add_argument("--check", action="store_true", help="compare only; exit status 1 if the table is out of date")
    options = parser.parse_args(arguments)
    new = build()
    text = PRICES.read_text(encoding="utf-8") if PRICES.exists() else "{}"
    for line in differences(json.loads(text), new):
        print(line)
    if options.check:
        if text != render(new):
            print("prices.json is not what this tool writes; run python tools/update_prices.py")
        return int(text != render(new))
    PRICES.write_text(render(new), encoding="utf-8")
    for line in models_to_look_at([*new["models"], *sdk_models()], datetime.date.today()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
