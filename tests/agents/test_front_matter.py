"""Front matter as people write it: 152 files of every shape that was seen, and what is kept of each."""

from __future__ import annotations

import itertools
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.agents import AgentLibrary, parse_agent
from claude_force_nb.agents.front_matter import read_front_matter
from claude_force_nb.errors import AgentFileError

# How a description is written, and how it begins and ends when it is read.
DESCRIPTIONS: Dict[str, Tuple[str, str, str]] = {
    "plain": ("description: Brews tea", "Brews tea", "Brews tea"),
    "a word of YAML": ("description: no", "no", "no"),
    "a date": ("description: 2026-01-02", "2026-01-02", "2026-01-02"),
    "a number": ("description: 1_000.50", "1_000.50", "1_000.50"),
    "braces": ("description: {name} brews tea", "{name} brews", "tea"),
    "a mapping": ("description: {tea: green}", "{tea: green}", "{tea: green}"),
    "quoted": ('description: "Brews tea: green, black"', "Brews tea: green, black", "black"),
    "colons": ("description: Use when: tea is wanted. Note: no coffee # ever", "Use when: tea", "# ever"),
    "folded": ("description: >\n  Brews tea\n  when asked: always", "Brews tea when asked", "always"),
    "literal": ("description: |-\n  Brews tea.\n\n  Examples: none", "Brews tea.", "none"),
    "examples at the margin": (
        "description: Use this one for tea. Examples:\n\n<example>\nContext: it is four\nuser: \"Tea?\"\nassistant: \"Yes: now\"\n"
        "<commentary>\nmodel: of politeness\n</commentary>\n</example>\n",
        "Use this one for tea.", "</example>",
    ),
    "examples indented": (
        "description: Use this one for tea. Examples:\n  <example>\n    Context: it is four\n    user: \"Tea?\"\n  </example>",
        "Use this one for tea.", "</example>",
    ),
    "examples with tabs": (
        "description: Use this for tea: always\n\t<example>\n\tuser: \"Tea?\"\n\t</example>", "Use this for tea: always", "</example>",
    ),
    "half escaped": (
        'description: Use for tea. Examples:\\n\\n<example>\\nContext: four o\'clock\\nuser: \\"Tea?\\"\\n</example>',
        "Use for tea. Examples: <example> Context:", 'user: "Tea?" </example>',
    ),
    "half quoted": ('description: "Use for tea: say "please" and wait', "Use for tea: say", "wait"),
    "speakers at the margin": (
        "description: Use for tea: see below\nuser: \"Tea?\"\nassistant: \"Here: tea\"", "Use for tea", '"Here: tea"',
    ),
    "paragraphs": ("description: Tea: all of it\n\nAlso coffee, if it must be.\n\n- hot\n- cold", "Tea: all of it", "- cold"),
    "tag never closed": ("description: Tea: all of it\n<example>\nuser: \"Tea?\"", "Tea: all of it", 'user: "Tea?"'),
    "special signs": ("description: *Brews* tea @home [or: not] {ever} & more", "*Brews* tea", "& more"),
}  # fmt: skip


def _plain(text: str) -> str:
    return text


# How the file around it is written.
LAYOUTS: Dict[str, Callable[[str], str]] = {
    "plain": _plain,
    "windows": lambda text: text.replace("\n", "\r\n"),
    "old mac": lambda text: text.replace("\n", "\r"),
    "mark": lambda text: "\ufeff" + text,
    "blank lines above": lambda text: "\n\n" + text,
    "trailing blanks": lambda text: text.replace("---\n", "--- \t\n"),
    "long closing": lambda text: text.replace("\n---\n", "\n-----\n"),
    "not closed": lambda text: text.replace("\n---\n\n", "\n\n"),
}
FILES: List[Tuple[str, str]] = list(itertools.product(DESCRIPTIONS, LAYOUTS))
PROMPT = "# Tea\n\nYou brew tea.\n\nmodel: the kettle\n\n* hot"


def _file(description: str, layout: str, name: str) -> str:
    lines = f"name: {name}\n{DESCRIPTIONS[description][0]}\nmodel: haiku\ncolor: cyan\ntools: Read, Grep\nx-owner: the kitchen"
    return LAYOUTS[layout](f"---\n{lines}\n---\n\n{PROMPT}\n")


@pytest.mark.parametrize(("description", "layout"), FILES)
def test_every_shape_is_read(description: str, layout: str) -> None:
    """Name, description, model, colour, tools, unknown keys and prompt survive, however the file is written."""
    agent = parse_agent(_file(description, layout, "Tea Maker"), source="tea.md", default_name="tea")
    assert (agent.name, agent.title, agent.model, agent.prompt) == ("tea-maker", "Tea Maker", "haiku", PROMPT)
    assert agent.description.startswith(DESCRIPTIONS[description][1])
    assert agent.description.endswith(DESCRIPTIONS[description][2])
    assert "\n" not in agent.description
    known = {key: agent.other[key] for key in ("color", "tools", "x-owner")}
    assert known == {"color": "cyan", "tools": "Read, Grep", "x-owner": "the kitchen"}


def test_a_library_of_all_of_them(tmp_path: Path) -> None:
    """All 152 in one folder are found, with no warning, though broken ones lie between them."""
    folder = tmp_path / ".claude" / "agents"
    assert len(FILES) >= 100
    for number, (description, layout) in enumerate(FILES):
        path = folder / f"team {number % 5}" / f"agent {number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_file(description, layout, f"Tea/Maker {number}").encode("utf-8"))
    library = AgentLibrary(tmp_path, home=tmp_path / "nobody")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = {agent.name for agent in library.list()}
    assert {f"tea-maker-{number}" for number in range(len(FILES))} <= names
    assert all(library.find(f"Tea/Maker {number}").prompt == PROMPT for number in range(len(FILES)))


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("tools: [Read, Grep]", "tools", ["Read", "Grep"]),
        ("tools:\n  - Read\n  - Grep", "tools", ["Read", "Grep"]),
        ("description: a: b\ntools:\n- Read\n- Grep", "tools", ["Read", "Grep"]),
        ("description: a: b\nhooks:\n  Stop:\n    - run: true", "hooks", {"Stop": [{"run": True}]}),
        ("description: a: b\nsince: 2026-02-30", "since", "2026-02-30"),
        ("since: 2026-02-30", "since", "2026-02-30"),
        ("run: !!python/object/apply:os.system ['true']", "run", "!!python/object/apply:os.system ['true']"),
        ("list: [1, 2", "list", "[1, 2"),
        ("description: a: b\nversion: 2", "version", 2),
        ("description: a: b\n</example>\nteam: kitchen", "team", "kitchen"),
    ],
)  # fmt: skip
def test_what_means_nothing_here_is_kept(block: str, key: str, value: Any) -> None:
    """Keys of other tools keep their values. What YAML cannot read is kept as written, and no code runs."""
    assert parse_agent(f"---\nname: a\n{block}\n---\np", source="a.md", default_name="a").other[key] == value


def test_main_keys_in_capitals() -> None:
    """Name, Description, Model, Tools and Color may begin with a capital."""
    agent = parse_agent(
        "---\nName: tea\nDescription: Brews: tea\nModel: opus\nColor: red\n---\np", source="a.md", default_name="a"
    )
    assert (agent.name, agent.description, agent.model, agent.other["color"]) == ("tea", "Brews: tea", "opus", "red")


@pytest.mark.parametrize(
    "text",
    ["---\nname: a\nYou help.", "---\nname: a\n\nYou help.", "---\nname: a\nmodel: haiku\n\n\nYou help.\n",
     "---\nname: a\ntools:\n  - Read\nYou help."],
)  # fmt: skip
def test_front_matter_that_is_not_closed(text: str) -> None:
    """Without a closing line the prompt begins behind the last value."""
    assert parse_agent(text, source="a.md", default_name="b").prompt == "You help."


def test_a_rule_in_the_text_of_a_file_that_is_not_closed() -> None:
    """A rule below a heading of the text does not close front matter."""
    agent = parse_agent("---\nname: a\nmodel: opus\n\n# Task\n\nHelp.\n\n---\n\nMore.", source="a.md", default_name="b")
    assert (agent.model, agent.prompt) == ("opus", "# Task\n\nHelp.\n\n---\n\nMore.")


@pytest.mark.parametrize(
    ("written", "read"),
    [(r'"half \ud83d"', "half \ufffd"), (r'"\ud83d\ude00 whole"', "\U0001f600 whole"), (r'"\ude00\ud83d"', "\ufffd\ufffd")],
)  # fmt: skip
def test_half_surrogate_pairs(tmp_path: Path, written: str, read: str) -> None:
    """Half a surrogate pair in any value hides no list: the description can be encoded, and so can what is kept."""
    (tmp_path / ".claude" / "agents").mkdir(parents=True)
    text = f"---\nname: odd\ndescription: {written}\nx: [{written}]\n---\np"
    (tmp_path / ".claude" / "agents" / "odd.md").write_text(text, encoding="utf-8")
    found = {agent.name: agent for agent in AgentLibrary(tmp_path, home=tmp_path / "home").list()}
    assert (found["odd"].description, found["odd"].other["x"]) == (read, [read])
    "".join(agent.description + agent.title + agent.prompt for agent in found.values()).encode("utf-8")


def test_no_control_characters_in_what_is_listed() -> None:
    """Escape sequences and invisible characters do not reach the list of agents."""
    agent = parse_agent(
        '---\nname: "a\\e[31m"\ndescription: "red \\e[31m\\u202e text"\n---\np', source="a.md", default_name="b"
    )
    assert (agent.title, agent.description) == ("a[31m", "red [31m text")


@pytest.mark.parametrize(
    "block",
    ["<" * 60000, "<a-" * 20000, "description: a: " + "<e " * 20000, "x: y\n" * 12000, "description: " + "a: " * 20000,
     "<example>\n" * 6000, "</example>\n<example>\n" * 2500],
    ids=lambda block: block[:12],
)  # fmt: skip
def test_no_file_takes_long(block: str) -> None:
    """A file made to be slow is read, or refused, in a bounded time."""
    began = time.perf_counter()
    try:
        read_front_matter(f"---\nname: a\n{block}\n---\np", "a.md")
    except AgentFileError:
        pass
    assert time.perf_counter() - began < 20


@given(st.text(max_size=200), st.text(max_size=80))
def test_any_text_is_read_or_refused_in_one_line(block: str, prompt: str) -> None:
    """Whatever stands in a file, it is an agent that can be shown, or one line that names the file."""
    text = f"---\nname: tea\n{block}\n---\n{prompt}"
    try:
        agent = parse_agent(text, source="a.md", default_name="a")
    except AgentFileError as error:
        said = str(error)
    else:
        (agent.name + agent.title + agent.description + agent.prompt).encode("utf-8")
        said = "a.md" if agent.prompt else "no prompt"
    assert said.startswith("a.md")
    assert "\n" not in said
