"""Project files: what they may decide, what they may not, and how the user trusts one."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.errors import ClaudeForceWarning, OptionError
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.table import SETTINGS
from claude_force_nb.notebook.options.trust import TrustStore

PERSONAL = {
    "base_url": '"https://attacker.example"',
    "allow_http": "true",
    "cache_dir": '"~/Documents"',
    "cache_ttl_hours": "0.001",
    "cache_max_size_mb": "0.001",
    "prices": "{ sonnet = { input_mtok = 0, output_mtok = 0 } }",
    "allow_unknown_price": "true",
    "ledger_keep_days": "1",
    "cache_url": '"redis://attacker.example"',
    "answers": "'forged.answers.jsonl'",
    "answers_mode": "'record'",
    "answers_redact": "'prompts'",
    "answers_max_age_days": "1",
}


def settings_of(folder: Path, store: Path, **environ: str) -> Settings:
    return Settings(configurable=None, environ=environ, folder=folder, trust=TrustStore(store))


def project(folder: Path, *lines: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text("\n".join(["[tool.claude_force_nb]", *lines]), encoding="utf-8")
    path.chmod(0o644)
    return path


def looked_up(settings: Settings, *names: str) -> List[str]:
    """Look settings up; return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClaudeForceWarning)
        for name in names:
            settings.lookup(name)
    return [str(each.message) for each in caught]


def test_every_personal_setting_has_its_attack() -> None:
    """A new personal setting needs a line above."""
    assert set(PERSONAL) == {name for name, option in SETTINGS.items() if option.project == "personal"}


@pytest.mark.parametrize("name", PERSONAL)
def test_a_project_does_not_decide_what_is_personal(name: str, tmp_path: Path) -> None:
    """The default stays; one line names file, setting and the way to allow it, whichever setting is looked at first."""
    path = project(tmp_path, f"{name} = {PERSONAL[name]}")
    settings = settings_of(tmp_path, tmp_path / "config")
    (line,) = looked_up(settings, "model", name, name)
    assert settings.lookup(name) == (SETTINGS[name].default, "default")
    assert line.startswith(f"{path}: {name} is ignored")
    assert "%claude_config trust=on" in line
    assert "attacker" not in line


def test_a_parent_folder_is_not_trusted_either(tmp_path: Path) -> None:
    """The nearest file above counts, and is data as well."""
    project(tmp_path, f"base_url = {PERSONAL['base_url']}")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    settings = settings_of(inner, tmp_path / "config")
    assert len(looked_up(settings, "base_url")) == 1
    assert settings.value("base_url") is None


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("max_concurrent", "3", 3),
        ("max_concurrent", "5000", 10),
        ("max_retries", "0", 0),
        ("max_retries", "99", 4),
        ("budget", "0.5", "0.5"),
        ("daily_budget", "3", "3"),
        ("on_injection", '"block"', "block"),
        ("on_injection", '"off"', "warn"),
    ],
)
def test_a_project_tightens_only(name: str, value: str, kept: Any, tmp_path: Path) -> None:
    """Less than the default counts; more is ignored, with one line."""
    path = project(tmp_path, f"{name} = {value}")
    settings = settings_of(tmp_path, tmp_path / "config")
    said = looked_up(settings, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        found, source = settings.lookup(name)
    assert found == kept
    assert source == ("default" if said else str(path))
    assert len(said) == (kept == SETTINGS[name].default)


def test_what_the_user_sets_goes_before_a_project(tmp_path: Path) -> None:
    """A project's budget does not raise what the user has set."""
    project(tmp_path, "budget = 500", "model = 'opus'")
    settings = settings_of(tmp_path, tmp_path / "config", CLAUDE_FORCE_BUDGET="2")
    assert settings.lookup("budget") == ("2", "CLAUDE_FORCE_BUDGET")
    assert settings.value("model") == "opus"


def test_trust_is_for_one_file_with_one_content(tmp_path: Path) -> None:
    """Trusted, the file decides everything; changed by a byte, or in another folder, it is data again."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        path = project(folder, "base_url = 'https://gateway.example'", "max_concurrent = 50")
    store = tmp_path / "config"
    settings = settings_of(one, store)
    assert looked_up(settings, "base_url")
    settings.trust_project(True)
    assert not looked_up(settings, "base_url", "max_concurrent")
    assert settings.lookup("base_url") == ("https://gateway.example", str(one / "pyproject.toml"))
    assert settings.value("max_concurrent") == 50
    assert settings_of(one, store).project.trusted
    other = settings_of(two, store)
    assert looked_up(other, "base_url")
    assert not other.project.trusted

    path = one / "pyproject.toml"
    path.write_bytes(path.read_bytes() + b"\n")
    changed = settings_of(one, store)
    (line,) = looked_up(changed, "base_url")
    assert "it has changed since you trusted it" in line
    assert changed.value("base_url") is None

    changed.trust_project(True)
    assert not looked_up(changed, "base_url")
    changed.trust_project(False)
    assert looked_up(changed, "base_url")
    assert not changed.project.trusted
    assert not changed.project.changed
    if sys.platform != "win32":
        list_of_files = next(store.iterdir())
        assert list_of_files.stat().st_mode & 0o777 == 0o600
        assert store.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
@pytest.mark.parametrize("mode", [0o646, 0o666, 0o607])
def test_a_file_that_others_can_write_is_never_trusted(mode: int, tmp_path: Path) -> None:
    """This holds whether it was trusted before or not."""
    path = project(tmp_path, f"base_url = {PERSONAL['base_url']}")
    settings = settings_of(tmp_path, tmp_path / "config")
    looked_up(settings, "model")
    settings.trust_project(True)
    path.chmod(mode)
    again = settings_of(tmp_path, tmp_path / "config")
    assert "cannot be trusted, since others can write it" in " ".join(looked_up(again, "base_url"))
    assert again.value("base_url") is None
    with pytest.raises(OptionError, match="cannot be trusted: others can write it"):
        again.trust_project(True)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_never_trusted(tmp_path: Path) -> None:
    """Its owner could change it after it was trusted."""
    path = project(tmp_path, f"base_url = {PERSONAL['base_url']}")
    os.chown(path, 12345, 12345)
    settings = settings_of(tmp_path, tmp_path / "config")
    assert "it belongs to another user" in " ".join(looked_up(settings, "base_url"))
    with pytest.raises(OptionError, match="it belongs to another user"):
        settings.trust_project(True)


def test_without_a_file_there_is_nothing_to_trust(tmp_path: Path) -> None:
    """One line says so."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"there is no pyproject\.toml with"):
        settings_of(tmp_path, tmp_path / "config").trust_project(True)


MALFORMED: Dict[str, bytes] = {
    "no TOML": b"[tool.claude_force_nb\n",
    "no UTF-8": b"[tool.claude_force_nb]\nmodel = '\xff'\n",
    "deep": b"[tool.claude_force_nb]\nmodel = " + b"[" * 100_000,
    "no table": b"[tool]\nclaude_force_nb = 5\n",
    "a list": b"tool = [{claude_force_nb = 1}]\n",
    "large": b"# claude_force_nb\n" + b" " * 1_100_000,
    "controls": b"[tool.claude_force_nb]\n\x1b]0;owned\x07 = 1\n",
    "strange names": b'[tool.claude_force_nb]\n"mod\\u001b[31mel" = 1\n"base\\nurl" = 2\n',
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_is_one_line(kind: str, tmp_path: Path) -> None:
    """It is passed over with printable lines, and costs no cell."""
    (tmp_path / "pyproject.toml").write_bytes(MALFORMED[kind])
    settings = settings_of(tmp_path, tmp_path / "config")
    said = looked_up(settings, *SETTINGS)
    assert settings.value("model") == "sonnet"
    assert all(line.isprintable() and len(line) < 500 for line in said)
    assert len(said) <= 2


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """A repository's link could lead to any file of the user's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    project(outside, "model = 'opus'")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "pyproject.toml").symlink_to(outside / "pyproject.toml")
    settings = settings_of(inside, tmp_path / "config")
    assert "it leads through a symbolic link to a file outside the folder" in " ".join(looked_up(settings, "model"))
    assert settings.value("model") == "sonnet"


def looked_up_or_refused(settings: Settings, name: str) -> str:
    try:
        return " ".join(looked_up(settings, name))
    except OptionError as error:
        return str(error)


TOML_VALUES = st.sampled_from(
    [
        "nan",
        "inf",
        "-inf",
        "9" * 400,
        "1e400",
        "''",
        "[]",
        "{}",
        "true",
        "1979-05-27T07:32:00Z",
        "'\\u202e'",
        "[[[1]]]",
        "-1",
    ]
) | st.integers().map(str)


@given(st.sampled_from(sorted(SETTINGS)), TOML_VALUES)
def test_any_value_is_taken_or_one_line(name: str, value: str) -> None:
    """Whatever TOML gives, a setting is its value, its default, or one OptionError."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        project(Path(folder), f"{name} = {value}")
        settings = settings_of(Path(folder), Path(folder, "config"))
        said = looked_up_or_refused(settings, name)
    assert "\n" not in said
    assert len(said) < 2500


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": 1}', b"[" * 100_000, b"\xff"])
def test_a_broken_list_of_trusted_files_trusts_nothing(content: bytes, tmp_path: Path) -> None:
    """It is passed over, and written anew when the user trusts a file."""
    project(tmp_path, "cache_ttl_hours = 5")
    config = tmp_path / "config"
    config.mkdir()
    store = TrustStore(config)
    store.path.write_bytes(content)
    settings = settings_of(tmp_path, config)
    looked_up(settings, "cache_ttl_hours")
    assert settings.value("cache_ttl_hours") == 24.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        settings.trust_project(True)
    assert settings.value("cache_ttl_hours") == 5.0
