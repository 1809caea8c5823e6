"""The display of a batch."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any, Dict

from claude_force_nb.errors import OptionError, StoppedError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage
from claude_force_nb.notebook.display.batch_results import batch_bundle, summary_line
from claude_force_nb.rows.opening import open_source
from claude_force_nb.rows.results import BatchResult


def paid(cost: Any, model: str = "claude-opus-5-5", agent: Any = None) -> ClaudeResult:
    usage = Usage(input_tokens=1000, output_tokens=200)
    return ClaudeResult(model=model, agent=agent, usage=usage, cost=None if cost is None else D(cost))


def hit(saved: Any, model: str = "claude-opus-5-5") -> ClaudeResult:
    return ClaudeResult(model=model, cached=True, status="cached", cost=D(0), saved=None if saved is None else D(saved))


def test_a_batch_counts_unknown_prices_apart() -> None:
    """What is known is summed; rows of unknown price are counted, and never shown as nothing."""
    rows = [paid("0.5"), paid("0.25"), paid(None), hit("0.1"), hit(None)]
    assert "$0.7500 + 1 price unknown · saved $0.1000 + 1 price unknown" in summary_line(BatchResult(rows))
    assert "· price unknown ·" in summary_line(BatchResult([paid(None), paid(None), hit("0.1")]))
    assert "· $0.5000 ·" in summary_line(BatchResult([paid("0.5")]))
    assert "· $0 · saved $0.1000" in summary_line(BatchResult([hit("0.1")]))


def test_inputs_are_shown_beside_answers_and_failures_come_first() -> None:
    """Failed, cut off and refused rows lead, marked; each row shows what it asked; what is left out is counted."""
    results = [ClaudeResult(text=f"answer {number}") for number in range(20)]
    results[17] = ClaudeResult(status="failed", error=OptionError("no such thing"))
    results[18] = ClaudeResult(text="Half", status="cut_off", stop_reason="max_tokens")
    results[19] = ClaudeResult(status="refused", stop_reason="refusal")
    source = open_source([{"name": f"row <{number}>", "size": number} for number in range(20)])
    lines = batch_bundle(BatchResult(results, source=source))["text/plain"].splitlines()
    cells = [line.split("  ") for line in lines]
    assert [cell[0] for cell in cells[1:5]] == ["17", "18", "19", "0"]
    assert "name: row <17> · size: 17" in lines[1]
    assert "no such thing" in lines[1]
    assert "cut off at max_tokens; raise it: Half" in lines[2]
    assert "refused" in lines[3]
    assert "answer 0" in lines[4]
    assert any("12 more with an answer" in line for line in lines)
    plain = batch_bundle(BatchResult(results[:2], source=open_source(["hello <b>", "you"])))
    assert "hello &lt;b&gt;" in plain["text/html"]
    assert "item:" not in plain["text/plain"]
    assert batch_bundle(BatchResult(results[:1]))["text/plain"].splitlines()[0].split() == ["row", "status", "answer"]


def test_stopped_rows_are_marked_as_such() -> None:
    """They come before the answers, and are counted in the line below."""
    stopped = ClaudeResult(status="stopped", error=StoppedError("2 of 3 done"), cost=None)
    lines = batch_bundle(BatchResult([ClaudeResult(text="yes"), stopped]))["text/plain"].splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["1", "stopped"], ["0", "ok"]]
    assert lines[-1].startswith("2 rows · 1 ok · 1 stopped · ")


def test_a_value_that_cannot_be_written_is_named_by_its_type() -> None:
    """An object whose __str__ fails costs nobody the table."""

    class Odd:
        def __str__(self) -> str:
            raise ValueError

    batch = BatchResult([ClaudeResult(text="yes")], source=open_source([{"thing": Odd()}]))
    assert "Odd" in batch_bundle(batch)["text/plain"]


def test_the_fields_of_a_schema_are_columns() -> None:
    """Each field has its column; a row without a complete answer says why in the last one; further fields are named below."""

    def parts(result: ClaudeResult) -> Dict[str, Any]:
        return {name: (result.parsed or {}).get(name) for name in ("label", "stars", *(f"more_{n}" for n in range(9)))}

    results = [ClaudeResult(text="{}", parsed={"label": "good|<b>", "stars": number}) for number in range(3)]
    results.append(ClaudeResult(text="no JSON", status="failed", error=OptionError("does not fit")))
    shown = batch_bundle(BatchResult(results, source=open_source(["a", "b", "c", "d"]), more=parts))
    header, first, second = (line.split("  ") for line in shown["text/plain"].splitlines()[:3])
    assert [name.strip() for name in header if name.strip()][:5] == ["row", "status", "input", "label", "stars"]
    assert "answer" not in shown["text/plain"].splitlines()[0]
    assert first[0] == "3"
    assert first[-1].strip() == "does not fit"
    assert "good|<b>" in second
    assert "good&#124;" in shown["text/html"] or "good|&lt;b&gt;" in shown["text/html"]
    assert "not shown: more_6, more_7, more_8; to_frame() has them" in shown["text/plain"]
    whole = batch_bundle(BatchResult(results[:3], more=parts))["text/plain"].splitlines()[0]
    assert whole.split()[:4] == ["row", "status", "label", "stars"]
    assert "wrong" not in whole


def test_a_run_that_only_read_the_cache_looks_the_same_each_time() -> None:
    """The time is left out, since it would differ in every run."""
    seconds = [summary_line(BatchResult([hit("0.1")] * 20, duration_seconds=took)) for took in (1.2, 3.4)]
    assert seconds[0] == seconds[1]
    assert "3.4 s" in summary_line(BatchResult([hit("0.1"), paid("0.1")], duration_seconds=3.4))
