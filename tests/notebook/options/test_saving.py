"""Settings written to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

import pytest

from claude_force_nb.errors import ClaudeForceError, ClaudeForceWarning, OptionError
from claude_force_nb.notebook.commands.config import config
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.toml_text import parse_toml, with_changes
from claude_force_nb.notebook.options.trust import TrustStore

KEY = "sk-ant-api03-abcdefghijklmnop-wxyz"
PROJECT = """\
# What this project is.
[project]
name = "mine"   # its name

[tool.claude_force_nb] # ours
# The cheap one will do.
model   = "haiku"  # for now
budget = 5

[tool.ruff]
line-length = 99 # wide
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(folder: Path) -> Settings:
    return make(folder)


def make(folder: Path) -> Settings:
    config_folder = folder.parent / "config"
    return Settings(
        configurable=None,
        environ={},
        folder=folder,
        trust=TrustStore(config_folder),
        user_file=config_folder / "settings.toml",
    )


def said(settings: Settings, line: str, **environ: str) -> str:
    bundle: Dict[str, str] = config(settings, line, names={}, environ=environ)
    return bundle["text/plain"]


def project(folder: Path, text: str = PROJECT) -> Path:
    path = folder / "pyproject.toml"
    path.write_bytes(text.encode())
    path.chmod(0o644)
    return path


def test_the_users_file_serves_every_later_session(settings: Settings, folder: Path) -> None:
    """What was set is there in the next session, with its source; =default takes it out of the file again."""
    line = said(settings, "model=haiku max_tokens=1000 temperature=0.5 stream=off budget=0.10 cache_dir=here --save")
    path = folder.parent / "config" / "settings.toml"
    assert f"saved in {path}: model, max_tokens, temperature, stream, budget, cache_dir" in line
    assert parse_toml(path.read_bytes()) == {
        **{"model": "haiku", "max_tokens": 1000, "temperature": 0.5, "stream": False, "budget": 0.1},
        "cache_dir": os.path.join(os.getcwd(), "here"),
    }
    later = make(folder)
    assert later.lookup("model") == ("haiku", str(path))
    assert (later.value("max_tokens"), later.value("stream"), later.value("budget")) == (1000, False, "0.1")
    said(later, "model=default --save=user")
    assert make(folder).lookup("model") == ("sonnet", "default")
    assert make(folder).value("max_tokens") == 1000
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_name_all_that_is_set_is_saved(settings: Settings, folder: Path) -> None:
    """--save alone writes the session's own settings, and says so where there are none."""
    with pytest.raises(OptionError, match="nothing is set in this session"):
        said(settings, "--save")
    said(settings, "model=haiku")
    said(settings, "timeout=30")
    assert "model, timeout" in said(settings, "--save")
    assert make(folder).value("timeout") == 30.0


def test_a_project_file_keeps_everything_else(settings: Settings, folder: Path) -> None:
    """Comments, order, blanks and other tables; only the value changes, and a new key joins its table."""
    path = project(folder)
    said(settings, "model=opus max_tokens=500 --save")
    text = path.read_text(encoding="utf-8")
    assert text == PROJECT.replace('model   = "haiku"', 'model   = "opus"').replace(
        "budget = 5\n", "budget = 5\nmax_tokens = 500\n"
    )
    assert path.stat().st_mode & 0o777 == 0o644
    assert make(folder).lookup("max_tokens") == (500, str(path))
    said(make(folder), "max_tokens=default model=haiku --save")
    assert path.read_text(encoding="utf-8") == PROJECT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        '[project]\nname = "x"\n',
        '[project]\r\nname = "x"\r\n\r\n[tool.ruff]\r\nline-length = 9 # wide\r\n',
        '[tool]\nclaude_force_nb = { model = "haiku" } # inline\n[project]\nname = "x"\n',
        '[tool.a]\nx = 1\n[project]\nname = "x"\n[tool.claude_force_nb]\nmodel = "haiku"\n[tool.b]\ny = 2\n',
        'tool.claude_force_nb.model = "haiku"\ntool.other.x = [1, # one\n 2]\n',
        '[project]\ndescription = """\nmodel = "no setting"\n"""\n',
    ],
)
def test_any_layout_is_kept(text: str) -> None:
    """Whatever the file looks like: the same data but for ours, every comment, and the same line ends."""
    before = text.encode()
    after = with_changes(before, ("tool", "claude_force_nb"), {"model": "opus", "budget": 2})
    data = parse_toml(after)
    assert data["tool"].pop("claude_force_nb") == {"model": "opus", "budget": 2}
    old = parse_toml(before)
    old.get("tool", {}).pop("claude_force_nb", None)
    assert {name: value for name, value in data.items() if value} == {
        name: value for name, value in old.items() if value
    }
    for comment in ("# only a comment", "# wide", "# inline", "# one"):
        assert (comment in text) == (comment in after.decode())
    assert ("\r\n" in text) == (b"\r\n" in after)
    assert b"\n" not in after.replace(b"\r\n", b"") if "\r\n" in text else True
    assert with_changes(after, ("tool", "claude_force_nb"), {"model": "opus"}) == after


@pytest.mark.parametrize("text", ["tool = {}\n", "tool = 3\n", "not toml", "\xff"])
def test_what_cannot_be_changed_stays_as_it_is(text: str, settings: Settings, folder: Path) -> None:
    """A file whose layout has no place for ours, or that is not TOML: one line, nothing written, nothing set."""
    path = folder / "pyproject.toml"
    path.write_bytes(text.encode("latin-1"))
    before = path.read_bytes()
    with pytest.raises(ClaudeForceError, match="nothing was written"):
        said(settings, "model=haiku --save=project")
    assert path.read_bytes() == before
    assert settings.lookup("model")[1] == "default"


@pytest.mark.parametrize(
    "line",
    [
        f"agent={KEY} --save",
        "base_url=https://user:pass-word@gateway.example --save",
        "agent=my-own-secret-key --save",
        f"model=haiku agent={KEY} --save=project",
    ],
)
def test_a_key_is_never_written(line: str, settings: Settings, folder: Path) -> None:
    """Neither what looks like one, nor what the environment holds, nor a password: and then nothing else is, either."""
    path = project(folder) if "project" in line else folder.parent / "config" / "settings.toml"
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(OptionError, match="never written") as caught:
        said(settings, line, ANTHROPIC_API_KEY="my-own-secret-key")
    assert "my-own" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.parametrize("line", ["base_url=https://gateway.example", "budget=9", "budget=2 max_concurrent=50"])
def test_a_forbidden_setting_is_not_saved_to_an_untrusted_project(line: str, settings: Settings, folder: Path) -> None:
    """It would be ignored there; where the file is trusted it is written, and stays trusted."""
    said(settings, "budget=8 --save=user")
    path = project(folder)
    before = path.read_bytes()
    with pytest.raises(OptionError, match="--save=user"):
        said(settings, f"{line} --save=project")
    assert path.read_bytes() == before
    said(settings, "trust=on")
    said(settings, f"{line} --save=project")
    name, _, value = line.split()[-1].partition("=")
    later = make(folder)
    assert later.project.trusted
    assert (str(later.value(name)), later.lookup(name)[1]) == (value, str(path))


def test_a_project_makes_the_users_own_limits_only_stricter(settings: Settings, folder: Path) -> None:
    """What a project may tighten it tightens from what the user has set, not from the default."""
    said(settings, "max_concurrent=4 --save=user")
    project(folder, "[tool.claude_force_nb]\nmax_concurrent = 8\n")
    with pytest.warns(ClaudeForceWarning, match="stricter than 4"):
        assert make(folder).value("max_concurrent") == 4
    project(folder, "[tool.claude_force_nb]\nmax_concurrent = 2\n")
    assert make(folder).value("max_concurrent") == 2


def test_where_to_save_has_to_be_there(settings: Settings, folder: Path) -> None:
    """No project, another place, a link in the way: one line each."""
    with pytest.raises(OptionError, match="did you mean 'project'"):
        said(settings, "model=haiku --save=projct")
    with pytest.raises(OptionError, match="did you mean '--save'"):
        said(settings, "model=haiku --sav")
    target = folder.parent / "elsewhere.toml"
    target.write_text("", encoding="utf-8")
    (folder.parent / "config").mkdir()
    (folder.parent / "config" / "settings.toml").symlink_to(target)
    with pytest.raises(ClaudeForceError, match="nothing was written"), pytest.warns(
        ClaudeForceWarning, match="a symbolic link"
    ):
        said(settings, "model=haiku --save=user")
    assert target.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("content", ["modle = 'haiku'\n", "model = \n", "max_tokens = 'many'\n"])
def test_a_users_file_that_cannot_be_read_is_one_line(content: str, settings: Settings, folder: Path) -> None:
    """Unknown names get the nearest right one, broken files are ignored, and a wrong value says where it stands."""
    path = folder.parent / "config" / "settings.toml"
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    if "many" in content:
        with pytest.raises(OptionError, match="max_tokens takes tokens"):
            settings.value("max_tokens")
        return
    with pytest.warns(ClaudeForceWarning, match="did you mean 'model'" if "modle" in content else "cannot be read"):
        assert settings.value("model") == "sonnet"
