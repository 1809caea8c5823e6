"""%claude_batch in real kernels: what is shown and kept, Stop, the next kernel, and the background."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest
from support.live_kernel import LiveKernel, kernel_environment, one_line, only_answer

from claude_force_nb.simulator import Simulator

PROMPTS = "['p%d' % number for number in range({})]"


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(latency_seconds=0.01) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernel")


@pytest.fixture(scope="module")
def shared(server: Simulator, folder: Path) -> Iterator[LiveKernel]:
    """One kernel for all tests that leave nothing behind."""
    with LiveKernel(kernel_environment(server.url, folder), str(folder)) as kernel:
        assert kernel.run("%load_ext claude_force_nb").status == "ok"
        kernel.run("reviews = [{'text': 'good', 'stars': 5}, {'text': 'bad', 'stars': 1}, {'text': 'meh', 'stars': 3}]")
        yield kernel


@pytest.fixture
def kernel(shared: LiveKernel, server: Simulator) -> Iterator[LiveKernel]:
    server.heal()
    yield shared
    server.heal()


def wait_until(reached: Callable[[], Any]) -> None:
    while not reached():
        time.sleep(0.01)


def stop_at(kernel: LiveKernel, server: Simulator, message: str, line: str, *, in_flight: int) -> Any:
    """Press Stop once the live line begins with `line`, and so many calls wait for an answer; return the cell when it has ended.

    What was answered is not enough to wait for: the calls that take its place may leave before it is written and reported.
    """
    pressed = []

    def look(message: Any) -> None:
        if not pressed and message["content"].get("data", {}).get("text/plain", "").startswith(line):
            pressed.append(True)
            wait_until(lambda: server.counters.in_flight == in_flight)
            kernel.interrupt()

    kernel.on_message = look
    try:
        return kernel.wait(message)
    finally:
        kernel.on_message = None


@pytest.mark.slow
def test_a_batch_is_shown_once_and_kept(kernel: LiveKernel) -> None:
    """The cell ends with a summary in three forms, once; Out and into= hold the same batch, in input order."""
    cell = kernel.run("%%claude_batch reviews model=haiku into=labels\nLabel {{ text }} with {{ stars }} stars")
    data = only_answer(cell)
    assert set(data) == {"text/plain", "text/markdown", "text/html"}
    for form in data.values():
        assert "Label good with 5 stars" in form
        assert "3 rows · 3 ok · " in form.replace("&lt;", "<").replace("<span>$</span>", "$")
    assert kernel.value("labels is _, type(labels).__name__, [row.status for row in labels]") == (
        "True BatchResult ['ok', 'ok', 'ok']"
    )
    again = kernel.run("x = %claude_batch [r['text'] for r in reviews] --model haiku\nprint([r.status for r in x])")
    assert "['ok', 'ok', 'ok']" in again.text
    assert "3 rows · 3 ok" in only_answer(kernel.run("labels"))["text/plain"]
    assert kernel.value("(await labels.retry()) is labels") == "True"


@pytest.mark.slow
def test_what_is_wrong_is_one_line(kernel: LiveKernel, server: Simulator) -> None:
    """Every mistake ends the cell with one line before anything is sent, and into= stays as it was."""
    calls = server.counters.calls
    kernel.run("labels = 'old'")
    for code, message in (
        ("%claude_batch revews", "SourceError: revews is not defined; did you mean 'reviews'?"),
        ("%claude_batch reviews into=labels", "SourceError: reviews has the columns text, stars; say which"),
        ("%claude_batch reviews column=txt", "SourceError: reviews has no column 'txt'; did you mean 'text'?"),
        (
            "%%claude_batch reviews into=labels\n{{ txet }}",
            "UndefinedNameError: 'txet' in {{ }} is neither a column of reviews nor defined",
        ),
        ("%%claude_batch reviews\n{{ text ", "TemplateError: {{ without }}"),
        ("%%claude_batch reviews\n", "EmptyPromptError: the prompt is empty"),
        ("%claude_batch [] into=labels", "SourceError: [] is empty; nothing was sent"),
        ("%claude_batch ['a'] model=haikku into=labels", "UnknownModelError: unknown model 'haikku'"),
        ("%claude_batch ['a'] modle=haiku", "OptionError: unknown option 'modle'"),
        ("%claude_batch 5", "SourceError: 5 is an int, which has no rows"),
    ):
        cell = kernel.run(code)
        assert len(cell.traceback) == 1, cell.traceback
        assert cell.traceback[0].startswith(message), cell.traceback
    assert kernel.value("labels") == "old"
    assert server.counters.calls == calls


@pytest.mark.slow
def test_rows_fail_alone(kernel: LiveKernel, server: Simulator) -> None:
    """A row whose prompt cannot be made, or whose call is refused, is shown with its error; retry asks for these alone."""
    server.fail("invalid_request", contains="refused")
    cell = kernel.run(
        "rows = ['fine 1', 'refused 1', '', 'fine 2']\n%claude_batch rows model=haiku into=labels max_concurrent=1"
    )
    shown = only_answer(cell)["text/plain"]
    assert "4 rows · 2 ok · 2 failed" in shown
    assert "row 2: the prompt is empty" in shown
    server.heal()
    calls = server.counters.calls
    retried = kernel.run("labels = await labels.retry()\nprint([row.status for row in labels])")
    assert "['ok', 'ok', 'failed', 'ok']" in retried.text
    shown = [output["data"]["text/plain"] for output in retried.outputs if "data" in output]
    assert any(re.match(r"retry: sends 1 of 4 rows, about \$0\.\d+, at most \$0\.\d+$", line) for line in shown), shown
    assert server.counters.calls == calls + 1


@pytest.mark.slow
def test_stop_counts_what_is_in_flight_for_a_file_too(kernel: LiveKernel, server: Simulator) -> None:
    """Rows that go to a file are billed like others."""
    server.fail([None] * 10 + ["hang"] * 60)
    others = "['of a file %d' % number for number in range(40)]"  # nothing that other tests here have in the cache
    message = kernel.send(f"%claude_batch {others} model=haiku into=labels.jsonl max_concurrent=4")
    cell = stop_at(kernel, server, message, "10 of 40 ", in_flight=4)
    assert cell.traceback == [
        "Interrupted: 10 of 40 done; 4 calls were in flight and may be billed; run again to continue"
    ]
    assert kernel.value("len(open('labels.jsonl').readlines())") == "10"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "what_to_do"),
    [
        ("cache=off into=kept.jsonl", "run again to continue"),
        ("cache=off", "run again to start over, since cache=off keeps no answers"),
        ("--refresh", "run again with cache=on to continue, since cache=refresh asks for every answer again"),
    ],
)
def test_stop_says_whether_another_run_continues(
    kernel: LiveKernel, server: Simulator, option: str, what_to_do: str
) -> None:
    """Where the cache is not read, the same cell would pay for all rows once more."""
    server.fail([None] * 2 + ["hang"] * 20)
    rows = [f"{what_to_do} {number}" for number in range(8)]
    message = kernel.send(f"%claude_batch {rows} model=haiku max_concurrent=2 {option}")
    cell = stop_at(kernel, server, message, "2 of 8 ", in_flight=2)
    assert cell.traceback == [f"Interrupted: 2 of 8 done; 2 calls were in flight and may be billed; {what_to_do}"]


@pytest.mark.slow
def test_stop_keeps_what_is_done_and_the_next_run_pays_for_the_rest(kernel: LiveKernel, server: Simulator) -> None:
    """Stop ends the cell with one line and the partial result; another run, in another order, asks only for what is missing."""
    # The first ten are answered, then the server is silent.
    server.fail([None] * 10 + ["hang"] * 60)
    message = kernel.send(f"%claude_batch {PROMPTS.format(40)} model=haiku into=labels max_concurrent=4")
    cell = stop_at(kernel, server, message, "10 of 40 ", in_flight=4)
    line = "Interrupted: 10 of 40 done; 4 calls were in flight and may be billed; run again to continue"
    assert cell.traceback == [line]
    assert "stopped · 40 rows · 10 ok · 26 not sent · 4 stopped" in only_answer_of_failed(cell)
    assert kernel.value("len(labels), labels.counts['ok'], labels.errors[39]") == (
        "40 10 10 of 40 done; 4 calls were in flight and may be billed; run again to continue"
    )
    server.heal()
    calls = server.counters.calls
    kernel.run(f"import random\nrows = {PROMPTS.format(40)} + ['new 1', 'new 2']\nrandom.shuffle(rows)")
    again = kernel.run("%claude_batch rows model=haiku into=labels")
    assert "42 rows · 32 ok · 10 cached" in only_answer(again)["text/plain"]
    assert server.counters.calls == calls + 32
    assert kernel.value("all('“{}”'.format(row) in answer.text for row, answer in zip(rows, labels))") == "True"


def only_answer_of_failed(cell: Any) -> str:
    rich = [output["data"]["text/plain"] for output in cell.outputs if "data" in output]
    assert len(rich) == 1
    return str(rich[0])


@pytest.mark.slow
def test_a_stop_that_comes_before_the_source_is_made_ends_the_cell(kernel: LiveKernel) -> None:
    """A Stop while the cell does something else without awaiting is not forgotten: the source is not even begun."""
    kernel.run("import os, signal, time\nbegun = []")
    code = "os.kill(os.getpid(), signal.SIGINT)\n%claude_batch begun.append(1) or [time.sleep(20)]"
    assert kernel.run(code).traceback == ["Interrupted: the source was still being prepared; nothing was sent"]
    assert kernel.value("begun") == "[]"


@pytest.mark.slow
def test_stop_ends_what_the_source_does(kernel: LiveKernel, server: Simulator) -> None:
    """An expression, a first row and further rows that take long without awaiting are ended as well, with one line."""
    kernel.run(
        "import time\n"
        "def slow(pauses):\n"
        "    print('up', flush=True)\n"
        "    for number, pause in enumerate(pauses):\n"
        "        # Not one long sleep: Python does not hear a signal that comes just before it falls asleep until it wakes.\n"
        "        for _ in range(int(100 * pause)): time.sleep(0.01)\n"
        "        seen.append(time.time())\n"
        "        yield 'slow %d' % number"
    )
    for source, line in (
        (
            "[print('up', flush=True)] + [time.sleep(0.01) for _ in range(6000)]",
            "the source was still being prepared; nothing was sent",
        ),
        ("slow([60])", "the first row was still being prepared; nothing was sent"),
    ):
        message = kernel.send(f"%claude_batch {source}")
        kernel.wait_for_output(message, "up")
        kernel.interrupt()
        cell = kernel.wait(message)
        assert cell.traceback == ["Interrupted: " + line]
        assert cell.seconds < 30
    server.fail("hang", contains="slow")
    message = kernel.send("seen = []\n%claude_batch slow([0] + [0.1] * 50) into=part max_concurrent=40 cache=off")
    wait_until(lambda: server.counters.in_flight)
    pressed = time.time()
    kernel.interrupt()
    (line,) = kernel.wait(message).traceback
    assert line.startswith("Interrupted: 0 done; ")
    assert line.endswith("in flight and may be billed; run again to start over, since cache=off keeps no answers")
    # One or two rows, not one of each worker.
    assert int(kernel.value(f"sum(at > {pressed} for at in seen)")) < 10


@pytest.mark.slow
def test_a_killed_kernel_has_lost_nothing_that_was_done(server: Simulator, folder: Path) -> None:
    """After kill -9 in the middle of a batch a new kernel finds every answer that had come, and pays for the others once."""
    server.heal()
    code = "%claude_batch ['k%d' % number for number in {}] model=haiku into=labels max_concurrent=4"
    server.fail([None] * 9 + ["hang"] * 60)
    with LiveKernel(kernel_environment(server.url, folder), str(folder)) as first:
        first.run("%load_ext claude_force_nb")
        shown: List[str] = []
        first.on_message = lambda message: shown.append(message["content"].get("data", {}).get("text/plain", ""))
        first.send(code.format("range(30)"))
        # Nine that are reported: the calls that take their places may leave before the last answers are written.
        while not any(line.startswith("9 of 30") for line in shown):
            first.listen(0.1)
        wait_until(lambda: server.counters.in_flight == 4)
        first.manager.signal_kernel(9)
        wait_until(lambda: not first.manager.is_alive())
    server.heal()
    wait_until(lambda: server.counters.in_flight == 0)
    calls = server.counters.calls
    with LiveKernel(kernel_environment(server.url, folder), str(folder)) as second:
        second.run("%load_ext claude_force_nb")
        again = second.run(code.format("reversed(range(32))"))
        assert "32 rows · 23 ok · 9 cached" in only_answer(again)["text/plain"]
    assert server.counters.calls == calls + 23


@pytest.mark.slow
def test_in_the_background(kernel: LiveKernel, server: Simulator) -> None:
    """--background gives the kernel back at once; other cells run meanwhile, and the job can be watched and awaited."""
    server.fail("hang", contains="“never”")
    kernel.run("rows = ['b%d' % number for number in range(20)] + ['“never”']")
    started = kernel.run("job = %claude_batch rows model=haiku into=labels max_concurrent=4 --background")
    assert started.error is None, started.traceback
    assert kernel.value("6 * 7") == "42"
    while kernel.value("job.progress.done") != "20":
        kernel.run("import asyncio; await asyncio.sleep(0.02)")
    assert kernel.value("job, job.status") == "BackgroundRun(running, 20 of 21 done) running"
    waiting = kernel.send("print('up', flush=True)\nawait job")
    kernel.wait_for_output(waiting, "up")
    kernel.interrupt()
    assert kernel.wait(waiting).traceback == ["Interrupted: 20 of 21 done; the run continues, await it again"]
    assert kernel.value("job.status") == "running"
    early = kernel.run("job.result()")
    assert early.traceback == ["ClaudeForceError: the batch is still running: 20 of 21 done; await the run"]
    kernel.run("job.cancel()")
    cell = kernel.run("labels = await job\nprint(labels.counts, job.status, job.result() is labels)")
    assert "{'ok': 20, 'cached': 0, 'failed': 0, 'not_sent': 0, 'stopped': 1} cancelled True" in cell.text
    server.heal()
    done = kernel.run("job = %claude_batch rows model=haiku --background\nprint((await job).counts)")
    assert "{'ok': 1, 'cached': 20, 'failed': 0, 'not_sent': 0}" in done.text
    assert "21 rows" in only_answer(kernel.run("job"))["text/plain"]


@pytest.mark.slow
def test_an_error_in_the_background_is_seen(kernel: LiveKernel) -> None:
    """What ends a background batch is logged, shown by the job and raised by await; the rows before it are kept."""
    kernel.run("def broken():\n    yield 'e1'\n    yield 'e2'\n    raise ValueError('no more rows')")
    started = kernel.run("job = %claude_batch broken() model=haiku into=labels --background max_concurrent=1")
    assert started.error is None, started.traceback
    cell = kernel.run("await job")
    assert cell.error is not None
    assert (cell.error["ename"], cell.error["evalue"]) == ("ValueError", "no more rows")
    assert "failed: ValueError: no more rows" in only_answer(kernel.run("job"))["text/plain"]
    assert kernel.value("labels.texts[0][:9]") == "Simulated"


@pytest.mark.slow
def test_unloading_ends_what_runs_behind(kernel: LiveKernel, server: Simulator) -> None:
    """Unloading the extension cancels a background batch, and nothing complains."""
    server.fail("hang")
    kernel.run("job = %claude_batch ['u1', 'u2'] model=haiku --background")
    wait_until(lambda: server.counters.in_flight == 2)
    # What is in flight is given a moment to come back.
    wait = "while job.status == 'running':\n    await asyncio.sleep(0.05)"
    cell = kernel.run(f"%unload_ext claude_force_nb\nimport asyncio\n{wait}\nprint(job.status)")
    assert cell.stdout == "cancelled\n"
    assert cell.stderr == ""
    assert kernel.run("%load_ext claude_force_nb").status == "ok"
    wait_until(lambda: server.counters.in_flight == 0)


def test_a_column_is_not_taken_from_the_notebook(kernel: LiveKernel, server: Simulator) -> None:
    """A row that lacks a column has its default, or no answer, though the notebook has a variable of that name; one warning says so."""
    kernel.run("mark = 'of the notebook'\nuneven = [{'text': 'uneven 1', 'mark': 'its own'}, {'text': 'uneven 2'}]")
    cell = kernel.run("%%claude_batch uneven model=haiku into=found\n{{ text }}: {{ mark | default('none') }}")
    assert "the notebook's variable of that name is not used" in cell.stderr
    asked = [request.body["messages"][-1]["content"] for request in server.requests if "uneven" in str(request.body)]
    assert sorted(asked) == ["uneven 1: its own", "uneven 2: none"]
    kernel.run("%%claude_batch uneven model=haiku into=found\n{{ mark }}")
    assert kernel.value("[row.status for row in found]") == "['ok', 'failed']"
    assert kernel.value("\"'mark'\" in str(found[1].error)") == "True"
    assert "of the notebook" not in str([request.body for request in server.requests])
    misspelt = one_line(kernel.run("%%claude model=haiku\n{{ mrk }}"))
    assert misspelt.startswith(
        "UndefinedNameError: 'mrk' in {{ mrk }} is not defined; nothing was sent; did you mean 'mark'?"
    )
    grid = "%%claude_compare uneven models=haiku,sonnet into=grid\n{{ text }} {{ mark | default('none') }}"
    assert kernel.run(grid).status == "ok"
    assert "of the notebook" not in str([request.body for request in server.requests])


@pytest.mark.slow
def test_a_dry_run_sends_no_prompt(kernel: LiveKernel, server: Simulator) -> None:
    """--dry-run counts rows, prompts and tokens, prices them both ways, and calls only what is free."""
    kernel.run("%claude_batch ['dry 1'] model=haiku max_tokens=100 thinking=off")
    calls = server.counters.by_endpoint["messages"]
    count = "(lambda stats: (stats.hits, stats.misses))(get_ipython()._claude_force_extension.magics.session.orchestrator.cache.stats())"
    kernel.run(f"before = {count}")
    cell = kernel.run(
        "%claude_batch ['dry 1', 'dry 2', 'dry 2', 'dry three', '', 'dry 1', 'dry 1'] model=haiku max_tokens=100 thinking=off --dry-run into=nothing"
    )
    shown = only_answer(cell)["text/plain"]
    rows = {line[:18].strip(): line[18:].strip() for line in shown.splitlines()}
    assert (rows["rows"], rows["cached rows"], rows["distinct prompts"], rows["to send"]) == ("7", "3", "3", "2")
    assert rows["cannot be made"].startswith("1, such as row 4: the prompt is empty")
    assert "counted by the API" in rows["tokens in"]
    assert "at most 200" in rows["tokens out"]
    assert "$" in rows["price"]
    assert "$" in rows["price via=batches"]
    said = f"no answer was asked for; 2 rows were sent to {server.url}, which only counts tokens"
    assert said in shown.splitlines()[-1]
    assert "count=estimate sends nothing" in shown.splitlines()[-1]
    counted = server.counters.by_endpoint["count_tokens"]
    kept = only_answer(kernel.run("%claude_batch ['dry 4'] model=haiku --dry-run count=estimate"))["text/plain"]
    assert "no row left this machine" in kept
    assert kept.endswith("nothing was sent")
    uneven = "%%claude_batch [{'a': 'x', 'b': 'y'}, {'a': 'z'}] model=haiku --dry-run count=estimate\n{{ a }} {{ b | default('none') }}"
    shown = only_answer(kernel.run(uneven))["text/plain"]
    assert "cannot be made" not in shown
    assert ["rows", "2"] in [line.split() for line in shown.splitlines()]
    assert "did you mean 'estimate'?" in one_line(kernel.run("%claude_batch ['a'] --dry-run count=estimat"))
    assert "give it with --dry-run" in one_line(kernel.run("%claude_batch ['a'] count=estimate"))
    assert server.counters.by_endpoint["count_tokens"] == counted
    assert server.counters.by_endpoint["messages"] == calls
    assert kernel.value("'nothing' in globals()") == "False"
    assert kernel.value(f"before == {count}") == "True"


@pytest.mark.slow
def test_the_line_is_quiet(kernel: LiveKernel) -> None:
    """Progress is one output, updated in place at most ten times a second."""
    cell = kernel.run("%claude_batch ['quiet %d' % n for n in range(400)] model=haiku max_concurrent=4")
    only_answer(cell)
    assert cell.updates <= 10 * cell.seconds + 2
    assert kernel.run("%claude_batch ['quiet %d' % n for n in range(400)] model=haiku").updates <= 5


def lines(text: str) -> List[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.slow
def test_help_and_completion(kernel: LiveKernel) -> None:
    """--help lists the options of a batch from the table, and Tab offers them."""
    shown = only_answer(kernel.run("%claude_batch --help"))["text/plain"]
    assert {"column=", "limit=", "--background", "--dry-run"} <= {line.split()[0] for line in lines(shown)}
    assert "column=" in kernel.complete("%claude_batch reviews col")
    assert "via=" in kernel.complete("%%claude_batch reviews vi")


@pytest.mark.slow
def test_rows_go_to_a_file(kernel: LiveKernel, server: Simulator, folder: Path) -> None:
    """into= a file writes every row there, keeps none, and goes on where it was stopped."""
    server.fail([None] * 6 + ["hang"] * 60)
    code = (
        "%claude_batch ('f%d' % number for number in range(20)) model=haiku into=out.jsonl cache=off max_concurrent=2"
    )
    stopped = stop_at(kernel, server, kernel.send(code), "6 ", in_flight=2)
    assert stopped.traceback == ["Interrupted: 6 done; 2 calls were in flight and may be billed; run again to continue"]
    server.heal()
    assert len((folder / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    cell = kernel.run(code)
    assert only_answer(cell)["text/plain"].startswith("in out.jsonl · 20 rows · 14 ok · 6 cached")
    assert kernel.value("type(_).__name__, _.counts['ok'], 'out' in globals()") == "BatchSummary 14 False"
    found = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["row"], line["item"]) for line in found] == [(row, f"f{row}") for row in range(20)]
    mine = folder / "mine.jsonl"
    mine.write_text("not json\n", encoding="utf-8")
    refused = kernel.run("%claude_batch ['x'] into=mine.jsonl")
    assert refused.traceback == ["SourceError: mine.jsonl exists and was not written by a batch; give another name"]


def click(kernel: LiveKernel, model_id: str, subshell_id: Any = None) -> None:
    """Click a button as a front end does."""
    content = {"comm_id": model_id, "data": {"method": "custom", "content": {"event": "click"}}}
    message = kernel.client.session.msg("comm_msg", content)
    message["header"]["subshell_id"] = subshell_id
    kernel.client.shell_channel.send(message)


def button_of(kernel: LiveKernel, *, opened: bool = False) -> str:
    """Wait until the kernel has made a button, or has shown it; return its id."""
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        content = message["content"]
        if opened and message["msg_type"] == "comm_open":
            state = content["data"]["state"]
            if state.get("_model_name") == "ButtonModel":
                return str(content["comm_id"])
        view = content.get("data", {}).get("application/vnd.jupyter.widget-view+json")
        if not opened and message["msg_type"] == "display_data" and view:
            return str(view["model_id"])


@pytest.mark.slow
def test_the_stop_button_behind_the_notebook(kernel: LiveKernel, server: Simulator) -> None:
    """Below a batch in the background stands a button that ends it, and that is gone when it has ended."""
    server.fail("hang")
    kernel.send("job = %claude_batch ['s1', 's2'] model=haiku --background")
    click(kernel, button_of(kernel))
    assert "cancelled" in kernel.run("await job\nprint(job.status)").stdout
    wait_until(lambda: server.counters.in_flight == 0)


@pytest.mark.slow
def test_the_stop_button_of_a_waiting_cell(kernel: LiveKernel, server: Simulator) -> None:
    """Below a waiting cell the button appears once the front end has a subshell for clicks, and ends the cell as Stop does."""
    if kernel.value("getattr(get_ipython().kernel, '_supports_kernel_subshells', False)") != "True":
        pytest.skip("this ipykernel has no subshells: clicks would not be heard while a cell waits")
    server.fail("hang")
    message_id = kernel.send("%claude_batch ['w1', 'w2'] model=haiku into=labels")
    made = button_of(kernel, opened=True)
    control = kernel.client.control_channel
    control.send(kernel.client.session.msg("create_subshell_request"))
    subshell_id = kernel.client.get_control_msg(timeout=60)["content"]["subshell_id"]
    assert button_of(kernel) == made
    click(kernel, made, subshell_id)
    cell = kernel.wait(message_id)
    (line,) = cell.traceback
    assert line.startswith("Interrupted: 0 of 2 done; ")
    assert line.endswith("run again to continue")
    # The click may come before a row has left.
    assert kernel.value("labels.counts['stopped'] + labels.counts['not_sent']") == "2"
    request = kernel.client.session.msg("delete_subshell_request", {"subshell_id": subshell_id})
    control.send(request)
    wait_until(lambda: server.counters.in_flight == 0)


@pytest.mark.slow
def test_the_parts_of_answers_are_columns(kernel: LiveKernel) -> None:
    """With schema= every row has its object, and the frame a column for each of its parts."""
    pytest.importorskip("pandas")
    kernel.run("import dataclasses\n@dataclasses.dataclass\nclass Label:\n    mood: str\n    stars: int")
    cell = kernel.run("%%claude_batch reviews model=haiku schema=Label into=labels\nLabel {{ text }}")
    assert "3 rows · 3 ok" in only_answer(cell)["text/plain"]
    assert kernel.value("[type(answer.parsed).__name__ for answer in labels]") == "['Label', 'Label', 'Label']"
    assert kernel.value("list(labels.to_frame().columns)") == (
        "['text', 'stars', 'answer', 'mood', 'stars_2', 'status', 'stop_reason', 'error', 'cost']"
    )
