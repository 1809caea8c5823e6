"""Prices of the user's own: from a file or a mapping, exact, and refused in one line where they are none."""

from __future__ import annotations

import json
import os
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict

import pytest

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.costs.user_prices import read_prices
from claude_force_nb.errors import ClaudeForceWarning, OptionError
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.options.settings import Settings

D = Decimal
USAGE = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
ENTRIES: Dict[str, Any] = {
    "my-model": {"input_mtok": 0.1, "output_mtok": "0.7"},
    "haiku": {"input_mtok": 3, "output_mtok": 4},
}


def settings(folder: Path, **environ: str) -> Settings:
    return Settings(configurable=None, environ=environ, folder=folder)


def trusted(folder: Path) -> None:
    """Trust the project file as it is now: prices are the user's to decide."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        settings(folder).trust_project(True)


def written(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(ENTRIES), encoding="utf-8")
    else:
        path.write_text(
            "[my-model]\ninput_mtok = 0.1\noutput_mtok = '0.7'\n[haiku]\ninput_mtok = 3\noutput_mtok = 4\n",
            encoding="utf-8",
        )
    return path


@pytest.mark.parametrize("name", ["prices.json", "prices.toml", "Prices.JSON"])
def test_a_file_adds_and_overrides(tmp_path: Path, name: str) -> None:
    """A new model is priced, an alias prices its model, the others stay; 0.1 is a tenth."""
    if name == "Prices.JSON":
        written(tmp_path, "prices.json").rename(tmp_path / name)
    else:
        written(tmp_path, name)
    given = read_prices(tmp_path / name)
    assert str(given) == name + " (2 models)"
    assert given.table.cost("my-model", USAGE) == D("0.8")
    assert given.table.cost("claude-haiku-5-5", USAGE) == D(7)
    assert given.table.cost("claude-opus-5-5", USAGE) == load_prices().cost("claude-opus-5-5", USAGE)
    assert load_prices().cost("my-model", USAGE) is None


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    """The next question meets the prices that the file has then."""
    path = written(tmp_path, "prices.json")
    before = read_prices(path)
    assert read_prices(path) is before
    path.write_text(json.dumps({"my-model": {"input_mtok": 5, "output_mtok": 5}}), encoding="utf-8")
    os.utime(str(path), ns=(1, 1))
    assert read_prices(path) != before
    assert read_prices(path).table.cost("my-model", USAGE) == 10


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("gone.json", None, "prices: {} cannot be read: No such file or directory"),
        ("folder.json", "", "prices: {} cannot be read: it is not a regular file"),
        ("broken.json", "{", "prices: {} cannot be read: "),
        ("deep.json", "[" * 100_000, "prices: {} cannot be read: "),
        ("broken.toml", "x = ", "prices: {} cannot be read: "),
        ("bytes.json", b"\xff\xfe", "prices: {} cannot be read: "),
        ("large.json", b" " * (1 << 20) + b"{}", "prices: {} cannot be read: it is larger than 1 MB"),
        ("list.json", "[1]", "{}: prices must map model names to prices, not [1]"),
        ("word.json", '{"m": "cheap"}', "{}: prices['m'] must be like"),
        ("half.json", '{"m": {"input_mtok": 1}}', "{}: prices['m'] lacks output_mtok"),
        ("minus.toml", "[m]\ninput_mtok = -1\noutput_mtok = 1", "{}: prices['m']: input_mtok must be a number >= 0"),
        ("nan.json", '{"m": {"input_mtok": NaN, "output_mtok": 1}}', "{}: prices['m']: input_mtok must be a number"),
        ("key.json", '{"m": {"input": 1}}', "{}: prices['m']: unknown key 'input'"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, name: str, text: Any, line: str) -> None:
    """Each names the file and what is wrong with it."""
    path = tmp_path / name
    if name == "folder.json":
        path.mkdir()
    elif text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OptionError) as caught:
        read_prices(path)
    assert str(caught.value).startswith(line.format(path))
    assert "\n" not in str(caught.value)


def test_every_source_of_a_setting_takes_prices(tmp_path: Path) -> None:
    """``%claude_config``, traitlets, the environment, and a file or a table in pyproject.toml, found from its folder."""
    path = written(tmp_path, "prices.json")
    inner = tmp_path / "inner"
    inner.mkdir()
    project = tmp_path / "pyproject.toml"

    project.write_text("[tool.claude_force_nb]\nprices = 'prices.json'\n", encoding="utf-8")
    trusted(inner)
    value, source = settings(inner).lookup("prices")
    assert (str(value), source) == ("prices.json (2 models)", str(project))

    project.write_text(
        "[tool.claude_force_nb.prices.my-model]\ninput_mtok = 0.1\noutput_mtok = 0.7\n", encoding="utf-8"
    )
    trusted(inner)
    assert settings(inner).value("prices").table.cost("my-model", USAGE) == D("0.8")
    assert settings(inner, CLAUDE_FORCE_PRICES=str(path)).lookup("prices")[1] == "CLAUDE_FORCE_PRICES"

    class Traits:
        prices = ENTRIES

    from_traits = Settings(configurable=Traits(), environ={}, folder=inner)  # type: ignore[arg-type]
    assert from_traits.value("prices").table.cost("my-model", USAGE) == D("0.8")

    one = settings(inner)
    one.set("prices", str(path))
    assert one.lookup("prices")[1] == "%claude_config"
    one.set("prices", "default")
    assert one.lookup("prices")[1] == str(project)
    with pytest.raises(OptionError, match=r"%claude_config: prices takes a \.json or \.toml file"):
        one.set("prices", "cheap")
    with pytest.raises(OptionError, match=r"CLAUDE_FORCE_PRICES: prices: .* cannot be read"):
        settings(inner, CLAUDE_FORCE_PRICES="gone.toml").lookup("prices")
