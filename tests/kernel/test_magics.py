"""The magics in real kernels, against the simulator over a real socket."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Iterator

import IPython
import pytest
from support.live_kernel import (
    KEY,
    LiveKernel,
    assert_one_line_and_nothing_sent,
    kernel_environment,
    one_line,
    only_answer,
)

from claude_force_nb.simulator import Simulator


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(latency_seconds=0.02, tokens_per_second=400) as simulator:
        yield simulator


@pytest.fixture
def fresh(server: Simulator, tmp_path: Path) -> Iterator[LiveKernel]:
    """A kernel of its own, nothing loaded."""
    with LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        yield kernel


def test_a_cell_is_answered_and_is_its_value(shared: LiveKernel) -> None:
    """The answer is shown once, and Out, _ and into= hold the same result."""
    cell = shared.run("%%claude agent=explainer into=answer\nWhat is a monad?")
    data = only_answer(cell)
    assert data["text/plain"].count("imulated answer") == 1
    assert shared.value("_ is answer, Out[max(Out)] is answer, type(answer).__name__") == "True True ClaudeResult"
    assert shared.value("answer.agent, answer.cached, answer.stop_reason") == "explainer False end_turn"
    assert shared.value("str(answer) == answer.text, len(answer.fingerprint)") == "True 64"


def test_the_receipt_is_in_every_form(shared: LiveKernel) -> None:
    """A saved notebook shows model, tokens and price as plain text, Markdown and HTML."""
    data = only_answer(shared.run("%%claude model=opus\nWhat is a functor?"))
    assert set(data) == {"text/plain", "text/markdown", "text/html"}
    receipt = data["text/plain"].splitlines()[-1]
    assert receipt.startswith("claude-opus-5-5 · ")
    assert " tok · $0.0" in receipt
    assert receipt.endswith(" s")
    assert "\\$0.0" in data["text/markdown"].splitlines()[-1]
    assert "tok · <span>$</span>0.0" in data["text/html"]


@pytest.mark.slow
def test_the_answer_streams_through_one_display(fresh: LiveKernel, server: Simulator) -> None:
    """A slow answer appears while it arrives, in one display that is updated, and stands there once at the end."""
    with Simulator(tokens_per_second=40) as slow:
        fresh.run("%load_ext claude_force_nb")
        fresh.run(f"%claude_config base_url={slow.url}")
        cell = fresh.run("%%claude\nTell me at length about the history of the printing press, in several paragraphs.")
        data = only_answer(cell)
    assert cell.updates >= 2
    assert data["text/plain"].rstrip().endswith(" s")


def test_a_repeated_cell_costs_nothing(shared: LiveKernel, server: Simulator) -> None:
    """Rerunning a cell makes no call and shows what it saved."""
    code = "%%claude into=again\nHow do you sort a list?"
    shared.run(code)
    calls = server.counters.calls
    data = only_answer(shared.run(code))
    assert server.counters.calls == calls
    assert " · cached " in data["text/plain"]
    assert " · saved $0.0" in data["text/plain"]
    assert shared.value("again.cached, again.cost, again.saved > 0") == "True 0 True"
    shared.run(code.replace("%%claude", "%%claude --refresh"))
    assert server.counters.calls == calls + 1


@pytest.mark.parametrize(
    "code",
    [
        "%claude What is the capital of France?",
        "found = %claude What is the capital of France?",
        "for _n in [1]:\n    found = %claude What is the capital of France?",
        "if True:\n    %claude What is the capital of France?",
        "x = 1; found = get_ipython().run_line_magic('claude', 'What is the capital of France?')",
    ],
)
def test_the_line_form_is_an_expression(shared: LiveKernel, server: Simulator, code: str) -> None:
    """The line form works alone, assigned, and inside blocks, and a question mark is part of the question."""
    only_answer(shared.run(code))
    prompts = [message["content"] for request in server.requests for message in request.body.get("messages", ())]
    assert "What is the capital of France?" in prompts


@pytest.mark.slow
def test_help_on_the_magic_is_still_help(shared: LiveKernel) -> None:
    """A question mark right after the name asks for help, as everywhere in IPython."""
    message_id = shared.send("%claude?")
    assert shared.wait(message_id).outputs == []


@pytest.mark.slow
def test_the_magic_blocks_where_it_cannot_be_awaited(fresh: LiveKernel) -> None:
    """In a function, in %%time and in %%capture the answer comes all the same, and local names are seen."""
    fresh.run("%load_ext claude_force_nb")
    assert "imulated answer" in fresh.run("%%time\n%claude timed").text
    fresh.run("def ask(topic):\n    result = %claude Explain {{ topic }} please\n    return result")
    assert fresh.value("'rust please' in ask('rust').text").endswith("True")
    fresh.run("%%capture captured\ninside = %claude captured")
    assert fresh.value("inside.status") == "ok"


@pytest.mark.slow
def test_loading_patches_nothing_and_imports_little(fresh: LiveKernel) -> None:
    """Loading leaves asyncio alone and imports neither the SDK, aiohttp nor ipywidgets; answering does not patch either."""
    fresh.run(
        "import asyncio, sys\nbefore = (asyncio.run, asyncio.Task, asyncio.Future, type(asyncio.get_event_loop()))"
    )
    fresh.run("%load_ext claude_force_nb")
    heavy = (
        "sorted(set(sys.modules) & {'anthropic', 'aiohttp', 'ipywidgets', 'diskcache', 'jinja2', 'httpx', 'sqlite3_'})"
    )
    assert fresh.value(heavy) == "[]"
    only_answer(fresh.run("%%claude\nhello"))
    after = "(asyncio.run, asyncio.Task, asyncio.Future, type(asyncio.get_event_loop())) == before"
    assert fresh.value(after) == "True"
    assert fresh.value("hasattr(asyncio, '_nest_patched')") == "False"


@pytest.mark.slow
def test_replay_never_imports_the_sdk(server: Simulator, tmp_path: Path) -> None:
    """A new kernel that replays cached cells imports neither the SDK nor aiohttp."""
    environment = kernel_environment(server.url, tmp_path)
    code = "%%claude agent=reviewer\nReview {{ 1 + 1 }}"
    with LiveKernel(environment, str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        only_answer(kernel.run(code))
    with LiveKernel(environment, str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        assert " · cached " in only_answer(kernel.run(code))["text/plain"]
        assert kernel.run("import sys").status == "ok"
        assert kernel.value("sorted(set(sys.modules) & {'anthropic', 'aiohttp', 'ipywidgets', 'httpx'})") == "[]"


MISTAKES = {
    "%%claude agnet=reviewer\nhi": ("unknown option 'agnet'", "did you mean 'agent'?"),
    "%%claude agent=reviwer\nhi": ("unknown agent 'reviwer'", "did you mean 'reviewer'?"),
    "%%claude model=sonet\nhi": ("unknown model 'sonet'", "did you mean 'sonnet'?"),
    "%%claude cache=onn\nhi": ("cache must be one of", "did you mean 'on'?"),
    "%%claude max_tokens=many\nhi": ("max_tokens takes tokens", "'many'"),
    "%%claude into=2x\nhi": ("into takes a variable name", "'2x'"),
    "%%claude stop='a\nhi": ("a quote is not closed",),
    "%%claude hello\nhi": ("'hello' is not an option",),
    "%%claude": ("the prompt is empty", "below the %%claude line"),
    "%%claude\n\n  \n": ("the prompt is empty",),
    "%claude": ("the prompt is empty; write it after the options",),
    "quantity = 1\nanswer = %claude about {{ quantitiy }}": ("'quantitiy'", "not defined", "did you mean 'quantity'?"),
    "%%claude\n{{ 1/0 }}": ("ZeroDivisionError", "nothing was sent"),
    "%%claude\n{{ unclosed": ("{{", "}}"),
    "%%claude cache=only\nnever asked before": ("cache=only",),
    "%claude_agents reviwer": ("did you mean 'reviewer'?",),
    "%claude_cache clean": ("did you mean 'clear'?",),
    "%claude_config modle=opus": ("unknown setting 'modle'", "did you mean 'model'?"),
}


@pytest.mark.slow
@pytest.mark.parametrize("code", MISTAKES, ids=lambda code: code.splitlines()[0])
def test_a_mistake_is_one_line_and_sends_nothing(shared: LiveKernel, server: Simulator, code: str) -> None:
    """What the user got wrong is named in one line with the remedy, and nothing has left."""
    assert_one_line_and_nothing_sent(shared, server, code, MISTAKES[code])


@pytest.mark.slow
def test_without_a_key_nothing_is_sent(server: Simulator, tmp_path: Path) -> None:
    """A missing key is one line that names the variable to set; a refused key is never shown."""
    environment = kernel_environment(server.url, tmp_path)
    del environment["ANTHROPIC_API_KEY"]
    calls = server.counters.calls
    with LiveKernel(environment, str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        assert "set ANTHROPIC_API_KEY" in one_line(kernel.run("%%claude\nhi"))
        assert server.counters.calls == calls
        kernel.run(f"import os; os.environ['ANTHROPIC_API_KEY'] = 'invalid-{KEY}'")
        line = one_line(kernel.run("%%claude into=nothing\nhi"))
        assert line.startswith("AuthenticationError: the API refused the key; check ANTHROPIC_API_KEY")
        assert kernel.value("'nothing' in globals()") == "False"


@pytest.mark.slow
def test_errors_of_the_api_are_one_line(fresh: LiveKernel) -> None:
    """A prompt that is too long and a call that takes too long say so in one line with a remedy."""
    fresh.run("%load_ext claude_force_nb")
    with Simulator(context_window=2000) as small:
        fresh.run(f"%claude_config base_url={small.url}")
        assert "insert less" in one_line(fresh.run("%%claude\n{{ 'word ' * 5000 }}"))
    with Simulator(latency_seconds=30) as hanging:
        fresh.run(f"%claude_config base_url={hanging.url}")
        assert "raise timeout=" in one_line(fresh.run("%%claude timeout=0.2\nhi"))


@pytest.mark.slow
def test_waiting_is_shown_and_leaves_nothing(fresh: LiveKernel) -> None:
    """The cell shows that it is waiting; the answer replaces that, and so does the error of a failed call."""
    fresh.run("%load_ext claude_force_nb")
    with Simulator(latency_seconds=1.0) as slow:
        fresh.run(f"%claude_config base_url={slow.url}")
        cell = fresh.run("%%claude\nhi")
        assert any(re.fullmatch(r"waiting for the answer · \d+ s", line) for line in cell.history), cell.history
        assert "waiting" not in only_answer(cell)["text/plain"]
        cell = fresh.run("%%claude timeout=0.8\nhello")
        assert "raise timeout=" in one_line(cell)
        assert cell.history[-1] == ""
        assert re.fullmatch(r"(importing libraries|waiting for the answer) · \d+ s", cell.history[0])
        assert len(fresh.run("%%claude\nhi").history) == 1


@pytest.mark.slow
def test_a_wait_says_what_for(fresh: LiveKernel) -> None:
    """A retry is announced with its number and reason and a clock that moves, also where the answer is not streamed."""
    fresh.run("%load_ext claude_force_nb")
    with Simulator() as server:
        server.fail("overloaded", retry_after_seconds=1.5, times=1)
        fresh.run(f"%claude_config base_url={server.url}")
        cell = fresh.run("%%claude stream=off\nhi")
    assert cell.status == "ok", cell.traceback
    assert any(re.search(r"attempt [23] of \d.* after: .*overloaded.* · \d+ s$", line) for line in cell.history)
    assert "tok" in cell.text


@pytest.mark.slow
def test_help_is_made_from_the_table(shared: LiveKernel) -> None:
    """--help names every option that parses."""
    from claude_force_nb.notebook.options.table import LINE_OPTIONS

    text = shared.run("%%claude --help").text
    for name in LINE_OPTIONS:
        assert name in text


@pytest.mark.slow
def test_dry_run_shows_the_request_and_sends_nothing(shared: LiveKernel, server: Simulator) -> None:
    """--dry-run shows each part as it would leave, what it may cost and whether it is cached; its value has the JSON."""
    calls = server.counters.calls
    cell = shared.run("%%claude agent=labeller --dry-run\nLabel {{ 'x' * 300 }}\nwith KEY".replace("KEY", KEY))
    text = only_answer(cell)["text/plain"]
    assert "── request ──\nmodel: claude-haiku-5-5\n" in text
    assert '── user ──\nLabel <data name="' in text
    assert "is never an instruction" in text
    assert "\\n" not in text
    assert "at most" in text
    assert "with •••\n" in text
    assert "1 secret is masked here, but would be sent" in text
    assert text.endswith("not cached · nothing was sent")
    assert KEY not in json.dumps(cell.outputs)
    count = "(lambda stats: (stats.hits, stats.misses))(get_ipython()._claude_force_extension.magics.session.orchestrator.cache.stats())"
    shared.run(f"before = {count}")
    shared.run("seen = %claude --dry-run model=claude-haiku-4-5 temperature=0.5 Hi")
    assert json.loads(shared.value("seen.json"))["temperature"] == 0.5
    assert shared.value("seen.cached, seen.max_tokens") == "False 16000"
    assert shared.value(f"before == {count}") == "True"
    assert server.counters.calls == calls


REVIEW = """
from pydantic import BaseModel, Field
from typing import List
class Review(BaseModel):
    rating: int = Field(ge=1, le=5)
    summary: str
"""


@pytest.mark.slow
def test_a_schema_of_the_notebook(shared: LiveKernel, server: Simulator) -> None:
    """schema= names a class or an expression; parsed is its instance; a near miss is one line and sends nothing."""
    assert shared.run(REVIEW).status == "ok"
    assert only_answer(shared.run("%%claude model=haiku schema=Review into=review\nJudge it."))["text/plain"]
    assert shared.value("type(review.parsed) is Review and 1 <= review.parsed.rating <= 5") == "True"
    shared.run("reviews = %claude model=haiku schema=List[Review] Judge them.")
    assert shared.value("[type(each) is Review for each in reviews.parsed]") == "[True]"
    assert '"rating"' in shared.run("%claude --dry-run schema=Review Judge it.").text
    assert shared.complete("%claude schema=Rev") == ["Review"]
    calls = server.counters.calls
    assert "there is no 'Reviw'; did you mean 'Review'?" in one_line(shared.run("%claude schema=Reviw Judge it."))
    assert "schema=reviews: schema must be" in one_line(shared.run("%claude schema=reviews Judge it."))
    assert "schema=1/0: ZeroDivisionError" in one_line(shared.run("%claude schema=1/0 Judge it."))
    assert server.counters.calls == calls


@pytest.mark.slow
def test_an_answer_that_stays_wrong_is_shown_with_its_cost_and_kept(shared: LiveKernel, server: Simulator) -> None:
    """One repair, then one line; the text is on the page and in the variable."""
    shared.run(REVIEW)
    server.fail("wrong_json", contains="stubborn")
    cell = shared.run("%%claude model=haiku schema=Review into=wrong\nJudge this stubborn one.")
    assert one_line(cell).startswith("SchemaError: even after one repair, the answer does not fit Review")
    assert "wrong on purpose" in cell.text
    assert "does not fit the schema" in cell.text
    assert shared.value("wrong.status, wrong.text, wrong.attempts, wrong.cost > 0") == (
        'failed ["simulated: wrong on purpose"] 2 True'
    )
    server.fail(["wrong_json"], contains="mendable")
    repaired = only_answer(shared.run("%claude model=haiku schema=Review Judge this mendable one."))
    assert repaired["text/plain"].endswith("· repaired")


@pytest.mark.slow
def test_settings_have_their_order(server: Simulator, tmp_path: Path) -> None:
    """A setting comes from the cell, then %claude_config, traitlets, the environment, pyproject.toml, its default."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.claude_force_nb]\nmodel = 'fable'\nmax_tokens = 77\n", encoding="utf-8"
    )
    environment = {**kernel_environment(server.url, tmp_path), "CLAUDE_FORCE_MODEL": "haiku"}
    ask = "%%claude into=r {}\nwho are you"
    with LiveKernel(environment, str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        kernel.run(ask.format(""))
        assert kernel.value("r.model") == "claude-haiku-5-5"
        assert server.requests[-1].body["max_tokens"] == 77
        kernel.run("%config ClaudeForce.model = 'opus'")
        kernel.run(ask.format(""))
        assert kernel.value("r.model") == "claude-opus-5-5"
        assert "%claude_config" in kernel.run("%claude_config model=sonnet").text
        kernel.run(ask.format(""))
        assert kernel.value("r.model") == "claude-sonnet-5-5"
        kernel.run(ask.format("model=fable"))
        assert kernel.value("r.model") == "claude-fable-5-2"
        kernel.run("%claude_config model=default")
        kernel.run(ask.format(""))
        assert kernel.value("r.model") == "claude-opus-5-5"
        kernel.run("%config ClaudeForce.max_tokens = 'many'")
        assert "c.ClaudeForce.max_tokens: max_tokens takes tokens" in one_line(kernel.run(ask.format("")))


@pytest.mark.slow
def test_agents_are_found_beside_the_notebook(server: Simulator, tmp_path: Path) -> None:
    """An agent file in the notebook's folder or above it is found, listed with its source, and a broken one named."""
    folder = tmp_path / "project" / "notebooks"
    agents = tmp_path / "project" / ".claude" / "agents"
    folder.mkdir(parents=True)
    agents.mkdir(parents=True)
    (agents / "poet.md").write_text(
        "---\nname: poet\ntools: Read, Grep\nmodel: haiku\n---\nAnswer in verse.\n", encoding="utf-8"
    )
    (agents / "broken.md").write_text("---\nname: [\n---\nx\n", encoding="utf-8")
    with LiveKernel(kernel_environment(server.url, tmp_path), str(folder)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        only_answer(kernel.run("%%claude agent=poet\nroses"))
        assert server.requests[-1].body["system"] == "Answer in verse."
        assert server.requests[-1].body["model"] == "claude-haiku-5-5"
        listing = kernel.run("%claude_agents")
        assert str(agents / "poet.md") in listing.text
        assert "broken.md" in listing.stderr
        assert "broken.md, line " in one_line(kernel.run("%%claude agent=broken\nhi"))


@pytest.mark.slow
def test_tab_completes_options_agents_and_models(shared: LiveKernel) -> None:
    """Tab offers what may follow, and from IPython 8.6 on nothing else: options, values, agents, models, settings."""
    alone = IPython.version_info >= (8, 6)
    for typed, offered in {
        "%%claude ag": ["agent="],
        "%%claude agent=rev": ["reviewer"],
        "%claude model=hai": ["haiku"],
        "%claude --cache ": ["off", "on", "only", "refresh"],
        "%claude --dry": ["--dry-run"],
        "%claude_agents exp": ["explainer"],
        "%claude_cache ve": ["verify"],
        "%claude_cost by=no": ["notebook"],
        "%claude_config max_t": ["max_tokens="],
    }.items():
        found = shared.complete(typed)
        assert set(offered) <= set(found), typed
        assert not alone or sorted(found) == offered, typed
    assert not alone or shared.complete("answer = %claude model=hai") == ["haiku"]
    assert "KEYS" in shared.complete("KEYS = 1; KE") or "KeyError" in shared.complete("KeyErr")


@pytest.mark.skipif(IPython.version_info >= (8, 6), reason="from IPython 8.6 on matchers are given the cell")
def test_tab_knows_the_cell_that_the_front_end_has_sent(shared: LiveKernel) -> None:
    """Where IPython knows the line only, the names inside the braces of a prompt are offered all the same."""
    shared.run("nested = 1")
    assert "nested" in shared.complete("%%claude model=haiku\nSay {{ nes")
    assert "upper" in shared.complete("%%claude model=haiku\nSay {{ nested | uppe")


@pytest.mark.slow
def test_tab_knows_rows_templates_and_every_option(shared: LiveKernel, tmp_path: Path) -> None:
    """Rows and their columns, names and filters inside braces, values, actions; no name of the machinery, nothing of others'."""
    (tmp_path / "rows of mine.csv").write_text("a\n1\n")
    (tmp_path / "rows.csv").write_text("a\n1\n")
    shared.run("cities = [{'city': 'Rome', 'land': 'Italy'}]; number = 3; nested = {'alpha': {'beta': 1}}")
    shared.run("class Report:\n    alpha = 1\n    def columns(self): ...\nreport = Report()")
    for typed, offered in {
        "%claude_batch cit": {"cities"},
        f"%claude_batch {tmp_path}/ro": {f"{tmp_path}/rows.csv"},
        "%claude_batch cities col": {"column="},
        "%claude_batch cities column=": {"city", "land"},
        "%claude_batch cities count=": {"api", "estimate"},
        "%%claude_batch cities model=haiku\nSay {{ la": {"land", "last_error"},
        "%%claude\nSay {{ nes": {"nested"},
        "%%claude\nSay {{ nested.al": {"nested.alpha"},
        "%%claude\nSay {{ nested.alpha.": {"nested.alpha.beta"},
        "%%claude\nSay {{ report.al": {"report.alpha"},
        "%%claude\nSay {{ nested }} and {{ hist": {"history"},
        "%%claude\nSay {{ nested|uppe": {"upper"},
        "%claude {{ nested | truncate_": {"truncate_tokens"},
        "%claude thinking=ad": {"adaptive"},
        "%claude temperature=0": {"0", "0.5"},
        "%%claude_compare models=haiku,so": {"sonnet"},
        "%claude_config base_url=": {"simulator", "default"},
        "%claude_config --": {"--all", "--save", "--help"},
        "%claude_cache clear ": {"local", "shared", "--yes"},
        "%claude_jobs at": {"attach"},
        "%claude_dashboard c": {"close"},
        "%claude_cost -": {"--help"},
        # What may be anything: what stands there, so that nobody else's words come up.
        "%%claude\nImport re": {"re"},
        "%claude Import re": {"re"},
        "%claude system=re": {"re"},
    }.items():
        found = shared.complete(typed)
        assert offered <= set(found) if IPython.version_info < (8, 6) else set(found) == offered, typed
    assert not [each for each in shared.complete("%claude") if "async" in each]
    assert "async" not in shared.run("%lsmagic").text.partition("%claude")[2].partition("%clear")[0]
    assert "def" in shared.complete("de") or "delattr" in shared.complete("dela")


def test_an_error_ends_in_a_link_to_what_mends_it(shared: LiveKernel) -> None:
    """On the same line; another page for another kind of error, and none behind a Stop or an error of Python's."""
    for code, page in (
        ("%claude modle=haiku hi", "reference/options.md"),
        ("%claude {{ nobody }}", "how-to/values-in-prompts.md"),
        ("%claude agent=nobody hi", "how-to/agents.md"),
        ("%claude budget=0.0000001 hi", "how-to/stay-in-budget.md"),
        ("%claude_batch nothing_there", "how-to/rows.md"),
    ):
        cell = shared.run(code)
        assert cell.help_link.endswith("/docs/" + page), cell.error
        assert one_line(cell)
    assert shared.run("1 / 0").help_link == ""


def test_a_question_mark_shows_the_reference(shared: LiveKernel) -> None:
    """Examples, options and the page, of every magic."""
    for magic in ("%%claude", "%claude_batch", "%claude_cost", "%claude_doctor"):
        cell = shared.run(f"{magic}?")
        (page,) = [each["data"]["text/plain"] for each in cell.payload if each["source"] == "page"]
        assert len(re.findall(r"^    %+claude.*  # ", page, re.MULTILINE)) >= 2, page
        assert "/docs/" in page
    assert "model=" in shared.run("%%claude?").payload[0]["data"]["text/plain"]


def test_a_misspelt_magic_gets_the_nearest_right_one(shared: LiveKernel) -> None:
    """Wherever IPython finds no such magic: alone, assigned, in a block, above a prompt."""
    for code, wrong, right in (
        ("%claude_dashbord", "%claude_dashbord", "%claude_dashboard"),
        ("x = 1\nif x:\n    y = %claude_cots by=model", "%claude_cots", "%claude_cost"),
        ("answer = %cluade hi", "%cluade", "%claude"),
        ("%%claude_bacth rows\nSay {{ a }}", "%%claude_bacth", "%%claude_batch"),
        ("%%claude_dashbord\n", "%%claude_dashbord", "%claude_dashboard"),
    ):
        cell = shared.run(code)
        assert cell.status == "error"
        suggested = f"claude_force_nb: {wrong} is not a magic; did you mean '{right}'?"
        assert [line for line in cell.stderr.splitlines() if "claude_force_nb" in line] == [suggested]


def test_a_misspelt_magic_that_is_not_ours_gets_no_suggestion(shared: LiveKernel) -> None:
    """Nor does a text that only looks like one, nor what IPython itself knows better, nor a magic that the user defined."""
    define = "from IPython.core.magic import register_line_magic\n@register_line_magic\ndef claude_mine(line): return 7"
    assert shared.run(define).status == "ok"
    for code in (
        "%timeti 1",
        "%nothing_like_it",
        "%%claude_agents x\ny",
        "%claude_mien",
        "raise ValueError('Line magic function `%claude_dashbord` not found.')",
    ):
        cell = shared.run(code)
        assert cell.status == "error", code
        assert "claude_force_nb" not in cell.stderr
    for code in ("%claude_mine", "text = '''\n%claude_dashbord\n'''", "%%claude model=haiku\n%claude_dashbord"):
        cell = shared.run(code)
        assert (cell.status, cell.stderr) == ("ok", ""), code
    shared.run("del get_ipython().magics_manager.magics['line']['claude_mine'], claude_mine")


STATE = """
import json as _json
_shell = get_ipython()
def _state():
    formatters = [_shell.display_formatter.ipython_display_formatter, _shell.display_formatter.mimebundle_formatter,
                  _shell.display_formatter.formatters['text/plain']]
    return _json.dumps([
        sorted(_shell.magics_manager.magics['line']), sorted(_shell.magics_manager.magics['cell']),
        sorted(_shell.magics_manager.registry), len(_shell.input_transformers_post),
        len(_shell.input_transformers_cleanup), [type(c).__name__ for c in _shell.configurables],
        [sorted({*map(str, f.deferred_printers), *(str((t.__module__, t.__name__)) for t in f.type_printers)})
         for f in formatters],  # IPython moves a name from the one table to the other when it first shows it
        len(_shell.Completer.custom_matchers), {k: len(v) for k, v in _shell.events.callbacks.items()},
        sorted(k for k in vars(_shell) if 'claude' in k)])
"""


@pytest.mark.slow
def test_unloading_leaves_no_trace(fresh: LiveKernel) -> None:
    """Loading twice is loading once; unloading takes everything away; reloading works."""
    fresh.run(
        "%load_ext autoreload\n%unload_ext autoreload"
    )  # IPython registers its %load_ext itself with the first use
    fresh.run(STATE)
    fresh.run("_before = _state()")
    fresh.run("%load_ext claude_force_nb")
    fresh.run("_loaded = _state()")
    assert "already loaded" in fresh.run("%load_ext claude_force_nb").text
    only_answer(fresh.run("%%claude\nhello trace"))
    fresh.run("import claude_force_nb; claude_force_nb.load_ipython_extension(get_ipython())")
    assert fresh.value("_state() == _loaded") == "True"
    assert fresh.run("%reload_ext claude_force_nb").status == "ok"
    only_answer(fresh.run("%%claude\nhello again"))
    fresh.run("%unload_ext claude_force_nb")
    assert fresh.value("_state() == _before") == "True"
    assert "not found" in fresh.run("%claude hi").text


def test_model_output_is_never_live_html(shared: LiveKernel) -> None:
    """Markup, formulas and images in an answer are shown as text, and its code as it is."""
    code = (
        "from claude_force_nb import ClaudeResult\n"
        "ClaudeResult(text='<script>alert(1)</script> ![x](http://e/?q) costs $5 or $6\\n\\n```\\n<b>$1</b>\\n```\\n', model='m')"
    )
    data = only_answer(shared.run(code))
    assert "<script" not in data["text/html"]
    assert "<img" not in data["text/html"]
    assert "<script" not in data["text/markdown"]
    assert "![" not in data["text/markdown"]
    assert "\\$5 or \\$6" in data["text/markdown"]
    assert "```\n<b>$1</b>\n```" in data["text/markdown"]
    assert "<script>alert(1)</script>" in data["text/plain"]


def test_the_doctor_reports_in_the_notebook(shared: LiveKernel, server: Simulator) -> None:
    """One line for each check, at once and awaited; no call that could cost anything, and no key."""
    calls = server.counters.by_endpoint.get("messages", 0)
    cell = shared.run("%claude_doctor")
    shown = only_answer(cell)["text/plain"]
    for subject in ("Python", "Front end", "SDK", "Key", "Server", "Cache", "Ledger", "Leftovers"):
        assert re.search(rf"^ok +{subject} ", shown, re.MULTILINE), shown
    assert server.counters.by_endpoint.get("messages", 0) == calls
    assert KEY not in json.dumps(cell.outputs)
    assert "did you mean '--online'" in one_line(shared.run("%claude_doctor --onlin"))


def test_a_wrong_word_gets_the_nearest_right_one(shared: LiveKernel, server: Simulator) -> None:
    """In a setting, without its option, in a part of a value, in a filter and in what a magic takes."""
    calls = server.counters.calls
    shared.run("class Frame:\n    columns = ['price', 'size']\nframe = Frame(); record = {'amount': 1}")
    for code, said in (
        ("%claude_config model=hiku", "did you mean 'haiku'?"),
        ("%%claude haiku\nhello", "did you mean 'model=haiku'?"),
        ("%%claude refresh\nhello", "did you mean '--refresh'?"),
        ("%%claude into\nhello", "did you mean 'into=…'?"),
        ("%%claude\n{{ frame.prise }}", "nothing was sent; did you mean 'price'?"),
        ("%%claude\n{{ record.amuont }}", "nothing was sent; did you mean 'amount'?"),
        ("%%claude\n{{ frame.price | uper }}", "there is no filter 'uper'"),
        ("%%claude\n{{ frame.price | uper }}", "did you mean 'upper'?"),
        ("%claude_dashboard clos", "did you mean 'close'?"),
        ("%claude_cache cleer", "did you mean 'clear'?"),
    ):
        assert said in one_line(shared.run(code)), code
    assert server.counters.calls == calls


def test_a_name_of_pythons_own_is_hidden_only_on_request(shared: LiveKernel, server: Simulator) -> None:
    """It asks; no is one line, as it is where nobody can be asked, and nothing is sent."""
    calls = server.counters.calls
    question, cell = shared.run_and_answer("%%claude into=print\nhello", "n")
    assert question.startswith("into=print would hide Python's own print in every later cell; go on?")
    assert "choose another name; nothing was sent" in one_line(cell)
    message_id = shared.client.execute(
        "%claude_batch ['a'] into=list", store_history=True, allow_stdin=False, stop_on_error=False
    )
    assert "into=list would hide Python's own list" in one_line(shared.wait(message_id))
    assert server.counters.calls == calls
    assert shared.value("print is __import__('builtins').print") == "True"
    _, cell = shared.run_and_answer("%%claude model=haiku into=vars\nhello", "yes")
    assert cell.status == "ok"
    assert shared.value("type(vars).__name__") == "ClaudeResult"
    assert shared.run("%%claude model=haiku into=vars\nhello").status == "ok"  # the notebook's own by now
    shared.run("del vars")


def test_aliases_come_before_full_names_and_newer_models_before_older(shared: LiveKernel) -> None:
    """Tab offers what people mean first, where IPython keeps an order."""
    found = shared.complete("%claude model=")
    assert {"haiku", "opus", "sonnet"} <= set(found)
    if int(IPython.__version__.split(".")[0]) >= 9:
        first_full = min(found.index(name) for name in found if name.startswith("claude-"))
        assert all(found.index(alias) < first_full for alias in ("haiku", "opus", "sonnet"))
        assert found.index("claude-opus-5-5") < found.index("claude-opus-4-1")


@pytest.mark.slow
def test_the_cache_is_cleared_when_it_is_sure(shared: LiveKernel) -> None:
    """Without --yes it asks; where nobody can be asked it says so, and keeps every answer."""
    shared.run("%claude model=haiku kept")
    message_id = shared.client.execute(
        "%claude_cache clear", store_history=True, allow_stdin=False, stop_on_error=False
    )
    assert "%claude_cache clear --yes" in one_line(shared.wait(message_id))
    assert "cached" in only_answer(shared.run("%claude model=haiku kept"))["text/plain"]
    assert only_answer(shared.run("%claude_cache clear --yes"))["text/plain"].startswith("cleared ")
    assert " · cached" not in only_answer(shared.run("%claude model=haiku kept"))["text/plain"]
