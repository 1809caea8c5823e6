"""Agents: where they are found, and what their files may hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from claude_force_nb.agents import BUILT_IN, Agent, AgentLibrary, parse_agent
from claude_force_nb.errors import AgentFileError, AgentFileWarning, OptionError, UnknownAgentError

BUILT_IN_NAMES = ["explainer", "fixer", "labeller", "reviewer", "summariser", "tester"]


def parse(text: str) -> Agent:
    return parse_agent(text, source="a.md", default_name="a")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """``put("nb", "name", "text")`` writes an agent's file into the agents folder below a folder."""

    def write(folder: str, name: str, content: Any) -> Path:
        path = tmp_path / folder / ".claude" / "agents" / (name + ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


@pytest.fixture
def library(tmp_path: Path) -> AgentLibrary:
    (tmp_path / "project" / "nb").mkdir(parents=True)
    return AgentLibrary(tmp_path / "project" / "nb", home=tmp_path / "home")


def test_claude_codes_format() -> None:
    """Front matter as Claude Code writes it is understood; what means nothing here is kept and ignored."""
    agent = parse(
        "---\nname: code-reviewer\ndescription: >\n  Reviews\n  code\ntools: Read, Grep\nmodel: inherit\n"
        "color: red\n---\n\nYou review code.\n\n---\n\nBe brief.\n"
    )
    assert (agent.name, agent.description, agent.model) == ("code-reviewer", "Reviews code", None)
    assert agent.prompt == "You review code.\n\n---\n\nBe brief."
    assert agent.other == {"tools": "Read, Grep", "color": "red"}


def test_settings_of_an_agent() -> None:
    """model, temperature and max_tokens are read with their types."""
    agent = parse("---\nmodel: opus\ntemperature: 0.2\nmax_tokens: 2000\n---\np")
    assert (agent.model, agent.temperature, agent.max_tokens) == ("opus", 0.2, 2000)


@pytest.mark.parametrize(
    ("front", "field", "value"),
    [("thinking: off", "thinking", "off"), ("thinking: on", "thinking", "on"), ("thinking: adaptive", "thinking", "adaptive"),
     ("thinking: 2048", "thinking", 2048), ("effort: xhigh", "effort", "xhigh"), ("cache: off", "cache", "off"),
     ("cache: on", "cache", None), ("model: inherit", "model", None), ("model: default", "model", None),
     ("model: opus[1m]", "model", "opus"), ("model: claude-opus-5-5[1m]", "model", "claude-opus-5-5"),
     ("model: best", "model", "fable"), ("model: opusplan", "model", "sonnet"), ("model: Haiku", "model", "Haiku")],
)  # fmt: skip
def test_what_an_agent_asks_of_a_call(front: str, field: str, value: Any) -> None:
    """thinking, effort, cache and Claude Code's words for models are read as they are meant."""
    assert getattr(parse(f"---\n{front}\n---\np"), field) == value


def test_descriptions_with_colons() -> None:
    """A description with colons is not valid YAML, but Claude Code writes and accepts it, so it is read as text."""
    said = 'Use this when: a change is done. Examples: <example>user: "hi" # not a comment</example>'
    agent = parse(f"---\nname: x\ndescription: {said}\ntools: Read\n---\np")
    assert (agent.description, agent.other) == (said, {"tools": "Read"})


@pytest.mark.parametrize(
    "text",
    ["You review.", "\ufeffYou review.", "---\n---\nYou review.", "\ufeff---\r\nname: a\r\n---\r\nYou review.\r\n",
     "--- \n# only a comment\n---\t\nYou review."],
    ids=ascii,
)  # fmt: skip
def test_other_forms(text: str) -> None:
    """No front matter, an empty one, a byte order mark and Windows' line ends all give the prompt."""
    assert (parse(text).name, parse(text).prompt) == ("a", "You review.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nname: a\n  b: [\n---\np", "a.md, line 2: name must be text on one line"),
        ("---\nname: [\n---\np", "a.md, line 2: name must be text on one line"),
        ("---\n- a\n---\np", "a.md, line 2: the front matter must be"),
        ("---\n\nonly words\n---\np", "a.md, line 2: the front matter must be"),
        ("---\nname: a\n---\n\n", "a.md: the prompt below the front matter is missing"),
        ("", "a.md: the prompt below the front matter is missing"),
        ("---\nmodel: {a: b}\n---\np", "a.md, line 2: model must be text on one line"),
        ("---\nname: a\n\ntemperature: hot\n---\np", "a.md, line 4: temperature must be a number from 0 to 1"),
        ("---\ntemperature: true\n---\np", "a.md, line 2: temperature must be a number from 0 to 1"),
        ("---\ntemperature: .nan\n---\np", "a.md, line 2: temperature must be a number from 0 to 1"),
        ("---\nmax_tokens: 1.5\n---\np", "a.md, line 2: max_tokens must be a whole number"),
        ("---\nmax_tokens: 0\n---\np", "a.md, line 2: max_tokens must be a whole number"),
        ("---\nthinking: 12\n---\np", "a.md, line 2: thinking must be on, off, adaptive or a number"),
        ("---\nthinking: [1]\n---\np", "a.md, line 2: thinking must be on, off, adaptive or a number"),
        ("---\ndescription: a: b\neffort: turbo\n---\np", "a.md, line 3: effort must be one of low, medium"),
        ("---\ncache: refresh\n---\np", "a.md, line 2: cache must be on or off"),
        ("---\na: &x [1]\nb: [*x, *x]\n---\np", "a.md, line 3: YAML aliases"),
        ("---\na: &x {k: v}\nb:\n  <<: *x\n---\np", "a.md, line 4: YAML aliases"),
        ("---\ndescription: " + "x" * 70000 + "\n---\np", "a.md: the front matter has more than 64 KB"),
        ("---\nx: " + "[" * 2000 + "\n---\np", "a.md: the front matter cannot be read: nested too deeply"),
        ("---\n" + "- " * 2000 + "\n---\np", "a.md: the front matter cannot be read: nested too deeply"),
        ("---\n" + "? " * 2000 + "\n---\np", "a.md: the front matter cannot be read: nested too deeply"),
    ],
    ids=lambda value: value[:24],
)
def test_files_that_are_not_agents(text: str, said: str) -> None:
    """A file that is not an agent is refused in one line that names it, and the line where there is one."""
    with pytest.raises(AgentFileError) as raised:
        parse(text)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_built_in_agents(library: AgentLibrary) -> None:
    """Five agents come with the package, each with a description and a prompt, without warnings."""
    agents = library.list()
    assert [agent.name for agent in agents] == BUILT_IN_NAMES
    assert all(agent.source == BUILT_IN and agent.description and len(agent.prompt) > 100 for agent in agents)


def test_order_of_search(library: AgentLibrary, put: Callable[..., Path], tmp_path: Path) -> None:
    """The notebook's folder goes before its parents, these before the home folder, that before the built-in ones."""
    assert library.find("reviewer").source == BUILT_IN
    for folder in ("home", ".", "project", "project/nb"):
        path = put(folder, "reviewer", "from " + folder)
        found = library.find("reviewer")
        assert (found.prompt, Path(found.source).resolve()) == ("from " + folder, path.resolve())
        assert [agent.prompt for agent in library.list() if agent.name == "reviewer"] == ["from " + folder]
    library.define(Agent("reviewer", "from the notebook", source="this notebook"))
    assert library.find("reviewer").prompt == "from the notebook"


def test_working_directory_and_home(put: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder the search starts where the process is at that moment, and ends in the user's home."""
    (tmp_path / "one").mkdir()
    put("one", "mine", "one")
    put("house", "mine", "house")
    monkeypatch.setenv("HOME", str(tmp_path / "house"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "house"))
    library = AgentLibrary()
    monkeypatch.chdir(tmp_path / "one")
    assert library.find("mine").prompt == "one"
    monkeypatch.chdir(tmp_path)
    assert library.find("mine").prompt == "house"


def test_name_in_the_file_counts(library: AgentLibrary, put: Callable[..., Path]) -> None:
    """The front matter's name wins over the file's."""
    put("project/nb", "file-name", "---\nname: real-name\n---\np")
    assert library.find("real-name").prompt == "p"
    with pytest.raises(UnknownAgentError):
        library.find("file-name")


def test_changes_are_seen(library: AgentLibrary, put: Callable[..., Path]) -> None:
    """A file that is new, changed or gone counts at the next search."""
    with pytest.raises(UnknownAgentError):
        library.find("mine")
    path = put("project/nb", "mine", "first")
    assert library.find("mine").prompt == "first"
    put("project/nb", "mine", "second version")
    assert library.find("mine").prompt == "second version"
    path.unlink()
    with pytest.raises(UnknownAgentError):
        library.find("mine")


@pytest.mark.parametrize(
    "broken",
    [
        "---\nname: [\n---\np",
        b"\xff\xfe\x00 not text",
        "---\nname: reviewer\n---\nGr\u00fc\u00dfe".encode("cp1252"),
        "---\nx: &a [1]\ny: *a\n---\np",
        b"p" * (1024 * 1024 + 1),
    ],
    ids=["yaml", "bytes", "cp1252", "alias", "large"],
)
def test_a_broken_file_does_not_affect_others(library: AgentLibrary, put: Callable[..., Path], broken: Any) -> None:
    """An unreadable file is an error if it is asked for, one warning in the list, and does not affect other agents."""
    path = put("project/nb", "reviewer", broken)
    put("project/nb", "good", "p")
    assert library.find("good").prompt == "p"
    for _ in range(2):
        with pytest.raises(AgentFileError, match=r"reviewer\.md"):
            library.find("reviewer")
    with pytest.warns(AgentFileWarning, match=r"reviewer\.md") as caught:
        names = [agent.name for agent in library.list()]
    assert len(caught) == 1
    assert sorted(names) == sorted([*BUILT_IN_NAMES, "good"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library.list()
    path.unlink()
    assert library.find("reviewer").source == BUILT_IN


def test_a_folder_named_like_a_file(library: AgentLibrary, tmp_path: Path) -> None:
    """A folder that ends in .md, and an agents folder that is a file, are not an obstacle."""
    agents = tmp_path / "project" / ".claude" / "agents"
    (agents / "odd.md").mkdir(parents=True)
    (tmp_path / "project" / "nb" / ".claude").mkdir()
    (tmp_path / "project" / "nb" / ".claude" / "agents").write_text("a file")
    assert library.find("reviewer").source == BUILT_IN


def test_unknown_names(library: AgentLibrary, put: Callable[..., Path]) -> None:
    """An unknown name is answered with the nearest one and all others; a path is just an unknown name."""
    put("project/nb", "translator", "p")
    with pytest.raises(
        UnknownAgentError, match=r"unknown agent 'translater'; did you mean 'translator'\? \(known: explainer, "
    ):
        library.find("translater")
    for name in ("../../etc/passwd", "", "a\0b"):
        with pytest.raises(UnknownAgentError):
            library.find(name)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", " a", "a\n", "a.md", "é", "١", 5, None])
def test_no_name_is_a_path(library: AgentLibrary, put: Callable[..., Path], name: Any) -> None:
    """An agent's name has only letters, digits, - and _, and a path finds no agent."""
    with pytest.raises(OptionError, match="an agent's name must be letters, digits, - and _"):
        Agent(name, "p")
    if isinstance(name, str):
        with pytest.raises(UnknownAgentError, match=r"an agent's name must be letters, digits, - and _|unknown agent"):
            library.find(name)
    put("project/nb", "good-1_A", "p")
    assert library.find("good-1_A").name == "good-1_A"


def test_names_say_nothing_of_broken_files(library: AgentLibrary, put: Callable[..., Path]) -> None:
    """The names that Tab offers come without a warning, which then is still there for the list."""
    put("project/nb", "broken", "---\nname: [\n---\np")
    library.define(Agent("mine", "p"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library.names() == sorted([*BUILT_IN_NAMES, "mine"])
    with pytest.warns(AgentFileWarning):
        library.list()


def test_equality_ignores_what_means_nothing_here() -> None:
    """Two agents that differ only in keys of other tools are equal."""
    other: Dict[str, Any] = {"color": "red"}
    assert Agent("a", "p", other=other) == Agent("a", "p")


@pytest.mark.parametrize(
    ("written", "name"),
    [("Code Reviewer", "code-reviewer"), ("team/api.reviewer", "team-api-reviewer"), ("Größe & Maß", "grosse-mass"),
     ("C++ / Rust", "c-rust"), ("  spaced   out ", "spaced-out"), ("1.5", "1-5"), ("yes", "yes"), ("0x10", "0x10")],
)  # fmt: skip
def test_names_as_people_write_them(library: AgentLibrary, put: Callable[..., Path], written: str, name: str) -> None:
    """A name with blanks, dots, slashes or signs is used by a name that can be typed, or as written, and shown as written."""
    put("project/nb", "file", f"---\nname: {written}\n---\np")
    agent = library.find(name)
    assert (agent.name, agent.title) == (name, written.strip())
    assert library.find(written.strip()) is agent
    assert library.find(name.upper()) is agent
    assert name in library.names()


def test_names_that_come_out_alike(library: AgentLibrary, put: Callable[..., Path]) -> None:
    """Two names that are typed alike both stay. Of two equal names the first file counts, with a warning."""
    put("project/nb", "a", "---\nname: Api Tester\n---\none")
    put("project/nb", "b", "---\nname: api.tester\n---\ntwo")
    put("project/nb", "c", "---\nname: Api Tester\n---\nthree")
    assert [library.find(each).prompt for each in ("api-tester", "api-tester-2", "api.tester", "Api Tester")] == [
        "one", "two", "two", "one",
    ]  # fmt: skip
    with pytest.warns(AgentFileWarning, match=r"c\.md: skipped, because .*a\.md is also called Api Tester"):
        library.list()


def test_names_of_other_scripts(library: AgentLibrary, put: Callable[..., Path]) -> None:
    """A name without a letter that can be typed is used as written, or by the name of its file."""
    put("project/nb", "taster", "---\nname: 试味员\n---\np")
    put("project/nb", "味", "---\nname: 厨师\n---\nq")
    assert library.find("试味员") is library.find("taster")
    assert library.find("厨师").prompt == "q"
    assert library.find("厨师").name.startswith("agent-")
