"""Generate the tables in docs/, and the drawing of the rooms, from the code.

::

    python tools/update_docs.py            write them
    python tools/update_docs.py --check    write nothing; name each page that differs, exit status 1 if any does

A table is between ``<!-- NAME: made by tools/update_docs.py -->`` and ``<!-- /NAME -->``. The package must be installed,
normally with ``pip install -e .``
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Sequence, Set, Tuple

from draw_rooms import drawing

import claude_force_nb.errors
from claude_force_nb.__main__ import COMMANDS
from claude_force_nb.agents import BUILT_IN, AgentLibrary
from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.models import COLUMN_SOURCES, CURRENT_MODELS, ModelRules
from claude_force_nb.notebook.magics.claude_magics import ClaudeMagics
from claude_force_nb.notebook.options.of_magics import BATCH_OPTIONS
from claude_force_nb.notebook.options.option import Option
from claude_force_nb.notebook.options.table import LINE_OPTIONS, OPTIONS, SETTINGS
from claude_force_nb.simulator import FAULT_KINDS
from claude_force_nb.vocabulary import EFFORTS, ERROR_PAGES

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
_BLOCK = re.compile(r"(<!-- ([a-z]+): made by tools/update_docs.py -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| {} |".format(" | ".join(cell.replace("|", "\\|") for cell in line)) for line in lines)


def _default(option: Option) -> str:
    value: Any = option.default
    if value is None:
        return ""
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return "`{}`".format(f"{value:g}" if isinstance(value, float) else value)


def _takes(option: Option) -> str:
    return ", ".join(f"`{choice}`" for choice in option.choices) or option.takes


def options() -> str:
    """Return the options of ``%%claude`` and ``%claude``."""
    rows = []
    for name in LINE_OPTIONS:
        option = OPTIONS[name]
        typed = f"`--{name}`" if option.flag else f"`{name}=`"
        rows.append((typed, _takes(option), _default(option), option.meaning))
    return table(("Option", "Takes", "Default", "Meaning"), rows)


def batch() -> str:
    """Return the options that only a batch has."""
    rows = []
    for name in BATCH_OPTIONS:
        option = OPTIONS[name]
        if name not in LINE_OPTIONS:
            typed = f"`--{name}`" if option.flag else f"`{name}=`"
            rows.append((typed, _takes(option), _default(option), option.meaning))
    return table(("Option", "Takes", "Default", "Meaning"), rows)


def settings() -> str:
    """Return the settings of ``%claude_config``."""
    kinds = {"free": "yes", "tighten": "only stricter", "personal": "only if trusted"}
    rows = [
        (f"`{name}`", _takes(each), _default(each), kinds[each.project], each.meaning)
        for name, each in SETTINGS.items()
    ]
    return table(("Setting", "Takes", "Default", "A project may set it", "Meaning"), rows)


def agents() -> str:
    """Return the built-in agents."""
    nowhere = REPOSITORY / "docs"
    library = AgentLibrary(nowhere, home=nowhere)
    built_in = [agent for agent in library.list() if agent.source == BUILT_IN]
    rows = [(f"`{agent.name}`", agent.description, agent.model or "") for agent in built_in]
    return table(("Agent", "What it does", "Model"), rows)


def errors() -> str:
    """Return the error tree from the docstring of errors.py."""
    tree = (claude_force_nb.errors.__doc__ or "").partition("::\n")[2].strip("\n")
    return "```text\n{}\n```".format(re.sub(r"^    ", "", tree, flags=re.MULTILINE))


def remedies() -> str:
    """Return the meaning of each error and the page that says what to do about it, most specific class first."""
    rows = []
    for name in sorted(claude_force_nb.errors.__all__):
        error = getattr(claude_force_nb.errors, name)
        if issubclass(error, claude_force_nb.errors.ClaudeForceError):
            page = next((ERROR_PAGES[kind.__name__] for kind in error.__mro__ if kind.__name__ in ERROR_PAGES), "")
            rows.append((f"`{name}`", _summary(error), f"[{_title(page)}]({_from_reference(page)})" if page else ""))
    return table(("Error", "When", "What to do"), rows)


def _summary(documented: object) -> str:
    return (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def _from_reference(page: str) -> str:
    return page[len("reference/") :] if page.startswith("reference/") else f"../{page}"


def _title(page: str) -> str:
    """Return the text of the heading that a link in docs/ points to."""
    path, _, anchor = page.partition("#")
    text = (REPOSITORY / "docs" / path).read_text(encoding="utf-8")
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        if not anchor or re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") == anchor:
            return str(heading)
    raise KeyError(page)


def magics() -> str:
    """Return the reference of every magic, as shown by its ``--help``."""
    parts = []
    for name in sorted({name for names in ClaudeMagics.magics.values() for name in names}):
        module = import_module(f"claude_force_nb.notebook.commands.{name.partition('_')[2] or 'claude'}")
        reference = module.REFERENCE
        lines = [f"## {reference.magic}", "", reference.summary, "", "```text"]
        width = max(len(typed) for typed, _ in reference.examples)
        lines += [f"{typed.ljust(width)}  # {meaning}" for typed, meaning in reference.examples]
        lines.append("```")
        if reference.words:
            lines += [
                "",
                table(("Word", "Meaning", "Takes"), [(f"`{word}`", *rest) for word, *rest in reference.words]),
            ]
        if reference.options:
            which = "settings.md" if "daily_budget" in reference.options else "options.md"
            which += "#options-of-a-batch" if "column" in reference.options else ""
            names = ", ".join(f"`{option}`" for option in reference.options)
            lines += ["", f"Takes {names}: see [{_title('reference/' + which)}]({which})."]
        lines += ["", f"More: [{_title(reference.page)}]({_from_reference(reference.page)})"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def commands() -> str:
    """Return the help of each command of ``claude-force-nb``, always 80 columns wide."""
    parts = []
    for name, (module, meaning) in COMMANDS.items():
        parser = argparse.ArgumentParser(
            prog=f"claude-force-nb {name}",
            add_help=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=80),
        )
        import_module(module, "claude_force_nb").add_arguments(parser)
        rows = []
        for action in parser._actions:
            if action.help == argparse.SUPPRESS:
                continue
            typed = ", ".join(f"`{word}`" for word in action.option_strings) or f"`{action.metavar or action.dest}`"
            metavar = action.metavar or (action.dest.upper() if action.option_strings and action.nargs != 0 else "")
            takes = ", ".join(f"`{choice}`" for choice in action.choices or ()) or str(
                metavar if action.option_strings else ""
            )
            rows.append((typed, takes, (action.help or "") % {**vars(action), "prog": parser.prog}))
        described = parser.description or f"{meaning[:1].upper()}{meaning[1:]}."
        parts.append(f"## claude-force-nb {name}\n\n{described}\n\n{table(('Argument', 'Takes', 'Meaning'), rows)}")
    return "\n\n".join(parts)


def faults() -> str:
    """Return the simulator's faults."""
    return table(("Fault", "What the client meets"), [(f"`{name}`", text) for name, text in FAULT_KINDS.items()])


def prices() -> str:
    """Return the prices of the models that have an alias."""
    known = load_prices()
    rows = []
    for alias, model in sorted(known.aliases.items()):
        found = known.find(model)
        assert found is not None
        for tier in found.period(known.dated).tiers:
            above = f" over {tier.over_input_tokens:,} input tokens" if tier.over_input_tokens > 0 else ""
            rows.append(
                (
                    f"`{alias}`",
                    f"`{model}`{above}",
                    *map(_amount, (tier.input_mtok, tier.output_mtok)),
                )
            )
    dated = f"Made from {known.source}. The newest date that its prices state is {known.dated}."
    header = ("Alias", "Model", "Input, $ per million tokens", "Output, $ per million tokens")
    return f"{table(header, rows)}\n\n{dated}"


_SAMPLING = {"free": "yes", "one": "temperature or top_p", "default": "no"}


def models() -> str:
    """Return the current models with what each accepts, and the sources of the columns."""
    rows = []
    for rules in CURRENT_MODELS:
        off = "cannot" if rules.always_thinks else ", ".join(f"`{kind}`" for kind in _OFF if kind in rules.thinking)
        if rules.thinking_off_efforts != EFFORTS:
            off += f", effort up to {rules.thinking_off_efforts[-1]}"
        forms = sorted(rules.thinking - set(_OFF))
        rows.append(
            (
                f"`{rules.name}`",
                f"{rules.context_window:,}",
                f"{rules.max_output_tokens:,}",
                "yes" if rules.thinks else "no",
                ", ".join("a budget" if form == "enabled" else form for form in forms),
                off,
                ", ".join(f"**{each}**" if each == rules.default_effort else each for each in rules.efforts) or "none",
                _SAMPLING[rules.sampling],
                "yes" if rules.forced_tools else "no",
                f"{rules.min_cache_tokens:,}",
                _retirement(rules),
            )
        )
    header = (
        "Model", "Context window", "Most output", "Thinks by itself", "Thinking", "Thinking off", "Effort (**default**)",
        "Sampling", "Forced tools", "Least cached", "Retires",
    )  # fmt: skip
    prefill = ", ".join(f"`{rules.name}`" for rules in CURRENT_MODELS if rules.prefill)
    sources = "; ".join(f"{column.replace('_', ' ')}: {source}" for column, source in COLUMN_SOURCES.items())
    return (
        f"{table(header, rows)}\n\nAll of them can hold an answer to a schema. A prefilled answer is accepted only by {prefill}.\n\n"
        f"Read in the API's documentation in November 2026, by section: {sources}."
    )


_OFF = ("disabled", "between_tools")


def _retirement(rules: ModelRules) -> str:
    if rules.retires is None:
        return "deprecated" if rules.retirement_announced else "not announced"
    return str(rules.retires) if rules.retirement_announced else f"not before {rules.retires}"


def attacks() -> str:
    """Return the attacks that tests/prompts/test_injection.py tries, and the defence against each."""
    known = json.loads((REPOSITORY / "tests" / "prompts" / "injection_attacks.json").read_text(encoding="utf-8"))
    rows = []
    for category, source in known["sources"].items():
        rows.append((f"**{category}**", source))
        for attack in known["attacks"]:
            if attack["category"] == category:
                rows.append(("`{}`".format(_visible(attack["text"])), "; ".join(attack["met"]) or "not found"))
    warned = sum(any(met.startswith("warned") for met in attack["met"]) for attack in known["attacks"])
    counted = "{} of these {} are warned about.".format(warned, len(known["attacks"]))
    return "{}\n\n{}".format(table(("Text of the value", "What it meets"), rows), counted)


def _visible(text: str) -> str:
    unseen = re.compile("[^ -\ufdff\ufe10-\U000dffff]")
    shown = "".join(
        each if each.isprintable() and not unseen.match(each) else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
    return shown if len(shown) <= 90 else shown[:89] + "…"


def _amount(amount: Any) -> str:
    return f"{amount:.2f}"


# Nearly everything imports these, so arrows to them would hide the others.
_EVERYWHERE = {"", "errors", "storage", "text_tables", "vocabulary", "warn"}


def rooms() -> str:
    """Return the drawing of the imports between rooms, without those that follow from others."""
    package = REPOSITORY / "claude_force_nb"
    arrows: Dict[str, Set[str]] = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        room = "" if parts[0].startswith("__") else parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("claude_force_nb."):
                arrows.setdefault(room, set()).add((node.module or "").split(".")[1])
            elif isinstance(node, ast.ImportFrom) and node.level == len(parts) and node.module:
                arrows.setdefault(room, set()).add(node.module.split(".")[0])
    direct = {room: {to for to in targets - _EVERYWHERE if to != room} for room, targets in arrows.items()}

    def reached(room: str) -> Set[str]:
        found: Set[str] = set()
        waiting = [room]
        while waiting:
            further = direct.get(waiting.pop(), set()) - found
            found |= further
            waiting += further
        return found

    needed = {
        room: targets - {far for target in targets for far in reached(target)}
        for room, targets in direct.items()
        if room not in _EVERYWHERE
    }
    return drawing(needed)


TABLES: Dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (
        attacks,
        options,
        batch,
        settings,
        agents,
        commands,
        errors,
        remedies,
        faults,
        magics,
        models,
        prices,
    )
}


def updated(text: str) -> str:
    """Return a page with its tables regenerated; raises KeyError if it names an unknown table."""
    return _BLOCK.sub(lambda block: f"{block.group(1)}{TABLES[block.group(2)]()}\n{block.group(4)}", text)


def pages() -> Iterator[Tuple[Path, str]]:
    """Yield each file that is generated at least in part, with its new text."""
    for page in PAGES:
        yield page, updated(page.read_text(encoding="utf-8"))
    yield REPOSITORY / "docs" / "images" / "rooms.svg", rooms()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page differs")
    arguments = parser.parse_args()
    status = 0
    for page, new in pages():
        if not page.exists() or page.read_text(encoding="utf-8") != new:
            print("{}: {}".format(page.relative_to(REPOSITORY), "differs" if arguments.check else "written"))
            if arguments.check:
                status = 1
            else:
                page.write_text(new, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
