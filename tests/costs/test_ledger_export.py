"""The ledger as CSV: exact, and safe to open."""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec

import pytest
from support.ledgers import NOW, Clock, answer

from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.errors import OptionError


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "state" / "ledger.db", clock=Clock())
    yield ledger
    ledger.close()


def test_csv_is_exact_and_safe_to_open(ledger, tmp_path):
    """Amounts as they are, times in UTC, no text that a spreadsheet would run."""
    ledger.append(answer("0.0000001", agent="=cmd()", model="@m", saved=None), notebook="a,b.ipynb", cell="-1")
    assert ledger.export_csv(tmp_path / "out.csv") == 1
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines())
    assert row["time"] == "2026-11-01T12:00:00.000+00:00"
    assert (row["cost"], row["saved"], row["agent"]) == ("0.0000001", "", "'=cmd()")
    assert (row["model"], row["cell"], row["notebook"]) == ("'@m", "'-1", "a,b.ipynb")
    text = io.StringIO()
    assert ledger.export_csv(text, since=NOW + 1) == 0
    assert text.getvalue().startswith("time,notebook,cell,agent,model,input_tokens")


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t=", " =", "\r=", "\n=", "＝", "a\r=", "a\r\n@", "\u2028+", "\x85-"]
)
def test_no_cell_of_a_csv_file_begins_with_a_formula(ledger, tmp_path, start):
    """Not even behind white space, or behind a bare carriage return, where some programs begin another line."""
    ledger.append(answer(agent=start + "cmd()"), notebook=start + "1")
    ledger.export_csv(tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_bytes().decode("utf-8")
    assert text.count("\n") == 2
    assert len(text.splitlines()) == 2
    _, row = csv.reader(io.StringIO(text))
    assert not any(cell.strip()[:1] in ("=", "+", "-", "@", "＝") for cell in row if cell)


@pytest.mark.parametrize("text", ["a;=cmd()", "a; +1", 'a";=1', "a;\t@x", ";;-1", "=1;=2"])
def test_no_formula_begins_where_a_semicolon_separates(ledger, tmp_path, text):
    """Where the comma is the decimal mark, spreadsheets part the line at semicolons, and quotes within it do not hold them off."""
    ledger.append(answer(agent=text), notebook=text)
    ledger.export_csv(tmp_path / "out.csv")
    row = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[1]
    assert len(row.split(";")) > 2
    assert not any(cell.strip()[:1] in ("=", "+", "-", "@") for cell in row.split(";"))


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed")
def test_a_frame_has_numbers_and_moments(ledger):
    """Amounts are floating point, missing where not known; times are moments in UTC, not numbers."""
    ledger.append(answer("0.25", saved=None))
    ledger.append(answer(None))
    frame = ledger.to_frame()
    assert frame["cost"].dtype == "float64"
    assert frame["cost"][0] == 0.25
    assert list(frame["cost"].isna()) == [False, True]
    assert list(frame["saved"].isna()) == [True, False]
    assert [moment.isoformat() for moment in frame["time"]] == ["2026-11-01T12:00:00+00:00"] * 2
    assert (frame["input_tokens"].dtype, frame["cached"].dtype) == ("int64", "bool")
    assert list(frame["agent"]) == ["reviewer"] * 2
    empty = ledger.to_frame(since=NOW + 1)
    assert len(empty) == 0
    assert (empty["cost"].dtype, empty["input_tokens"].dtype, empty["cached"].dtype) == ("float64", "int64", "bool")


@pytest.mark.skipif(find_spec("polars") is None, reason="polars is not installed")
def test_a_frame_of_polars_has_them_too(ledger, monkeypatch):
    """Where pandas is not there; with neither of them one line says what to install."""
    import polars

    missing = ["pandas"]
    monkeypatch.setattr(
        "claude_force_nb.costs.ledger_export.find_spec", lambda name: None if name in missing else find_spec(name)
    )
    ledger.append(answer("0.25"))
    ledger.append(answer(None))
    frame = ledger.to_frame()
    assert frame["cost"].to_list() == [0.25, None]
    assert (frame["cost"].dtype, frame["cached"].dtype) == (polars.Float64, polars.Boolean)
    assert [moment.isoformat()[:19] for moment in frame["time"]] == ["2026-11-01T12:00:00"] * 2
    empty = ledger.to_frame(since=NOW + 1)
    assert (len(empty), empty["saved"].dtype, empty["attempts"].dtype) == (0, polars.Float64, polars.Int64)
    missing.append("polars")
    with pytest.raises(OptionError, match="needs pandas or polars"):
        ledger.to_frame()
