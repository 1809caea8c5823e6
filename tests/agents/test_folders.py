"""Only regular files of bounded size inside an agents folder are read, and a bad file does not affect the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.agents.folders import AgentFolder
from claude_force_nb.errors import AgentFileWarning, UnknownAgentError

links = pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """The agents folder of a repository, with a good agent in it."""
    folder = tmp_path / "repository" / ".claude" / "agents"
    folder.mkdir(parents=True)
    (folder / "good.md").write_text("good")
    (tmp_path / "home").mkdir()
    (tmp_path / "private.md").write_text("a secret")
    return folder


def _library(tmp_path: Path) -> AgentLibrary:
    return AgentLibrary(tmp_path / "repository", home=tmp_path / "home")


@links
@pytest.mark.parametrize(
    "target", ["../../../private.md", "absolute", "../../notes.md"], ids=["up", "absolute", "project"]
)
def test_links_out_of_the_folder(agents: Path, tmp_path: Path, target: str) -> None:
    """A link that leads out of the agents folder is skipped with one line, even one to the project's own files."""
    (tmp_path / "repository" / "notes.md").write_text("a secret")
    os.symlink(str(tmp_path / "private.md") if target == "absolute" else target, str(agents / "leak.md"))
    library = _library(tmp_path)
    with pytest.warns(
        AgentFileWarning,
        match=r"leak\.md: skipped, because it leads through a symbolic link to a file outside the folder",
    ):
        found = library.list()
    assert not any("secret" in agent.prompt for agent in found)
    assert library.find("good").prompt == "good"


@links
def test_links_within_the_folder(agents: Path, tmp_path: Path) -> None:
    """A link to another agent of the same folder is a second name for it."""
    os.symlink("good.md", str(agents / "also.md"))
    assert _library(tmp_path).find("also").prompt == "good"


@links
@pytest.mark.parametrize("level", ["agents", "claude"])
def test_a_folder_that_is_a_link(tmp_path: Path, level: str) -> None:
    """An agents folder that is itself a link elsewhere is passed over with one line."""
    secret = tmp_path / "secrets" / "agents"
    secret.mkdir(parents=True)
    (secret / "leak.md").write_text("a secret")
    (tmp_path / "repository").mkdir()
    if level == "claude":
        os.symlink(str(tmp_path / "secrets"), str(tmp_path / "repository" / ".claude"))
    else:
        (tmp_path / "repository" / ".claude").mkdir()
        os.symlink(str(secret), str(tmp_path / "repository" / ".claude" / "agents"))
    library = _library(tmp_path)
    with pytest.warns(AgentFileWarning, match="skipped, because it is a link to another folder"):
        library.list()
    with pytest.raises(UnknownAgentError):
        library.find("leak")


@links
def test_a_subfolder_that_is_a_link(agents: Path, tmp_path: Path) -> None:
    """A folder in the agents folder that is a link is not entered."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "leak.md").write_text("a secret")
    os.symlink(str(tmp_path / "elsewhere"), str(agents / "more"))
    with pytest.raises(UnknownAgentError):
        _library(tmp_path).find("leak")


@links
def test_links_of_the_user(tmp_path: Path) -> None:
    """In the home folder links are the user's own, who may keep such files elsewhere."""
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "mine.md").write_text("mine")
    (tmp_path / "home" / ".claude").mkdir(parents=True)
    os.symlink(str(tmp_path / "dotfiles"), str(tmp_path / "home" / ".claude" / "agents"))
    assert _library(tmp_path).find("mine").prompt == "mine"
    # The notebook may lie in the home folder itself.
    assert AgentLibrary(tmp_path / "home", home=tmp_path / "home").find("mine").prompt == "mine"


@links
def test_a_repository_below_a_link(agents: Path, tmp_path: Path) -> None:
    """A project that is reached through a link is not treated as a link out of a folder."""
    os.symlink(str(tmp_path / "repository"), str(tmp_path / "shortcut"))
    assert AgentLibrary(tmp_path / "shortcut", home=tmp_path / "home").find("good").prompt == "good"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_a_pipe_is_not_an_agent(agents: Path, tmp_path: Path) -> None:
    """A pipe named like an agent's file is passed over: reading it would never end."""
    os.mkfifo(str(agents / "pipe.md"))
    assert _library(tmp_path).find("good").prompt == "good"


def test_folders_in_the_folder(agents: Path, tmp_path: Path) -> None:
    """Agents may be in folders of any depth. Those nearer to the top take precedence; hidden folders are ignored."""
    for folder, text in (("a", "a/x"), ("a/b/c", "deep"), (".git", "hidden")):
        (agents / folder).mkdir(parents=True)
        (agents / folder / "x.md").write_text(text)
    (agents / "a" / "b" / "c" / "y.md").write_text("y")
    (agents / ".git" / "z.md").write_text("z")
    library = _library(tmp_path)
    assert (library.find("x").prompt, library.find("y").prompt) == ("a/x", "y")
    assert "z" not in library.names()


def test_files_beside_agents(agents: Path, tmp_path: Path) -> None:
    """A README and the like are not agents, unless they say so."""
    for name in ("README.md", "Contributing.md", "LICENSE.md"):
        (agents / name).write_text("# About\n\nThese are agents.")
    (agents / "changelog.md").write_text("---\nname: changelog\n---\nYou write changelogs.")
    assert {"good", "changelog"} <= set(_library(tmp_path).names())
    assert not {"readme", "README", "Contributing", "LICENSE"} & set(_library(tmp_path).names())


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with very many files takes a bounded time, and the user is told."""
    monkeypatch.setattr("claude_force_nb.agents.folders._MOST_FILES", 5)
    for number in range(9):
        (tmp_path / f"{number}.md").write_text("p")
    contents = AgentFolder(str(tmp_path), trusted=True).load()
    assert sorted(contents.agents) == ["0", "1", "2", "3", "4"]
    assert "has more than 5 agents" in str(contents.remarks[0])
