"""Conversations: the earlier turns that a call is sent with, and what happens to its answer."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.agents import Agent
from claude_force_nb.errors import BudgetExceededError, ClaudeForceError, OptionError, ServerError
from claude_force_nb.memory.conversations import CellRun, Memory
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.prompts.fences import DATA_NOTICE
from claude_force_nb.simulator import Simulator
from claude_force_nb.testing import FakeTransport

Message = Tuple[str, str]
ENDLESS = 10**9


def request_of(messages: List[Dict[str, Any]]) -> ClaudeRequest:
    return ClaudeRequest({"model": "m", "max_tokens": 9, "messages": messages})


def ask(
    memory: Memory,
    turn: Any,
    text: Any,
    *,
    name: str = "c",
    limit: int = ENDLESS,
    answer: Optional[ClaudeResult] = None,
) -> List[Message]:
    """Do what the orchestrator does for a call; return the messages sent as (role, text)."""
    with memory.place(name, turn, limit_tokens=limit) as place:
        sent = [message for each in place.turns for message in each.messages]
        sent.append({"role": "user", "content": text})
        result = ClaudeResult(text=f"re: {text}", stop_reason="end_turn") if answer is None else answer
        place.keep(request_of(sent), result)
    return [(message["role"], message["content"]) for message in sent]


def questions(sent: List[Message]) -> List[str]:
    return [text for role, text in sent if role == "user"]


def kept(memory: Memory, name: str = "c") -> List[str]:
    return [turn.asked for turn in memory.turns(name)] if name in memory.names() else []


def test_turns_are_real_messages() -> None:
    """What was asked and answered stands before the new question as messages of user and assistant."""
    memory = Memory()
    ask(memory, "1", "a")
    assert ask(memory, "2", "b") == [("user", "a"), ("assistant", "re: a"), ("user", "b")]


def test_a_cell_that_runs_again_replaces_its_own_turn() -> None:
    """It is sent what stands before it, as it was the first time, and the later turns stay."""
    memory = Memory()
    first = [ask(memory, cell, "q" + cell) for cell in "123"]
    assert ask(memory, "2", "q2") == first[1]
    assert kept(memory) == ["q1", "q2", "q3"]
    assert questions(ask(memory, "2", "changed")) == ["q1", "changed"]
    assert questions(ask(memory, "3", "q3")) == ["q1", "changed", "q3"]


def test_calls_of_one_run_are_turns_of_the_cell() -> None:
    """A loop in a cell makes as many turns; a shorter one afterwards leaves none of the longer behind."""
    memory = Memory()
    ask(memory, CellRun("A", "1"), "before")
    for text in ("x", "y", "z"):
        sent = ask(memory, CellRun("B", "1"), text)
    assert questions(sent) == ["before", "x", "y", "z"]
    ask(memory, CellRun("C", "1"), "after")
    assert questions(ask(memory, CellRun("B", "2"), "x")) == ["before", "x"]
    assert questions(ask(memory, CellRun("B", "2"), "y")) == ["before", "x", "y"]
    assert kept(memory) == ["before", "x", "y", "after"]


def test_a_turn_without_an_owner_is_always_new() -> None:
    """Without a turn's id equal questions are two turns."""
    memory = Memory()
    ask(memory, None, "go on")
    assert questions(ask(memory, None, "go on")) == ["go on", "go on"]


@pytest.mark.parametrize(
    "answer",
    [
        ClaudeResult(text="I cannot", stop_reason="refusal"),
        ClaudeResult(text="", stop_reason="end_turn"),
        ClaudeResult(text=" \n", stop_reason="end_turn"),
        ClaudeResult(text="let me see", stop_reason="tool_use"),
        ClaudeResult(text="let me", stop_reason="pause_turn"),
        ClaudeResult(text="{", stop_reason="end_turn", status="failed", error=OptionError("no")),
    ],
    ids=lambda result: f"{result.stop_reason}-{len(result.text)}",
)
def test_what_is_not_an_answer_is_not_added(answer: ClaudeResult) -> None:
    """A refusal, an empty answer and half an exchange leave the conversation as it was, the cell's older turn too."""
    memory = Memory()
    ask(memory, "1", "a")
    ask(memory, "2", "b")
    with memory.place("c", "2", limit_tokens=ENDLESS) as place:
        told = place.keep(request_of([{"role": "user", "content": "B"}]), answer)
    assert told.notice.startswith("not in conversation c (")
    ask(memory, None, "x", answer=answer)
    assert kept(memory) == ["a", "b"]


def test_a_cut_off_answer_enters() -> None:
    """The next question may be "go on"."""
    memory = Memory()
    ask(memory, "1", "a", answer=ClaudeResult(text="half an ans", stop_reason="max_tokens"))
    assert ("assistant", "half an ans") in ask(memory, "2", "go on")


def test_an_error_changes_nothing() -> None:
    """A call that ends in an exception, of Stop too, keeps the older turn and its cell's place."""
    memory = Memory()
    for error in (RuntimeError, KeyboardInterrupt, asyncio.CancelledError):
        with pytest.raises(error), memory.place("c", "1", limit_tokens=ENDLESS):
            raise error
        with pytest.raises(error), memory.place("c", None, limit_tokens=ENDLESS):
            raise error
    assert memory.names() == []
    ask(memory, "2", "b")
    assert questions(ask(memory, "1", "a")) == ["a"]
    with pytest.raises(RuntimeError), memory.place("c", "1", limit_tokens=ENDLESS):
        raise RuntimeError
    assert kept(memory) == ["a", "b"]


def test_failed_calls_without_an_owner_leave_nothing_behind() -> None:
    """The memory of a program that runs for days with failing calls does not grow."""
    memory = Memory()
    ask(memory, None, "a")
    for _ in range(100):
        with pytest.raises(RuntimeError), memory.place("c", None, limit_tokens=ENDLESS):
            raise RuntimeError
    assert len(memory._conversations["c"].blocks) == 1


def test_a_cell_that_no_longer_asks_leaves() -> None:
    """When a cell has succeeded, turns of its older runs are forgotten; those of this run stay."""
    memory = Memory()
    ask(memory, CellRun("A", "1"), "a")
    ask(memory, CellRun("B", "1"), "b")
    memory.finish(CellRun("A", "1"))
    assert kept(memory) == ["a", "b"]
    ask(memory, CellRun("A", "2"), "a2", name="other")
    assert kept(memory) == ["a", "b"]
    memory.finish(CellRun("A", "2"))
    assert (kept(memory), kept(memory, "other")) == (["b"], ["a2"])
    ask(memory, CellRun("B", "2"), "refused", answer=ClaudeResult(text="no", stop_reason="refusal"))
    memory.finish(CellRun("B", "2"))
    assert kept(memory) == ["b"]
    memory.finish(CellRun("never seen", "1"))
    memory.finish(CellRun("A", "3"))
    assert memory.names() == ["c"]


def test_an_answer_that_comes_too_late() -> None:
    """An answer to an older run of a cell, or to a conversation that was cleared meanwhile, does not enter."""
    memory = Memory()
    old = memory.place("c", CellRun("A", "1"), limit_tokens=ENDLESS)
    ask(memory, CellRun("A", "2"), "new")
    asked = request_of([{"role": "user", "content": "old"}])
    assert "run again in the meantime" in old.keep(asked, ClaudeResult(text="late")).notice
    assert kept(memory) == ["new"]
    late = memory.place("c", CellRun("B", "1"), limit_tokens=ENDLESS)
    assert memory.clear() == 1
    assert "cleared in the meantime" in late.keep(asked, ClaudeResult(text="late")).notice
    assert memory.names() == []


def test_calls_at_the_same_time_have_their_places_in_the_order_they_began() -> None:
    """Whichever answer comes first, the turns of a cell stand in the order of its calls, and the next run sees the same."""
    memory = Memory()
    run = CellRun("A", "1")
    places = [memory.place("c", run, limit_tokens=ENDLESS) for _ in range(3)]
    for index in (2, 0, 1):
        places[index].keep(request_of([{"role": "user", "content": str(index)}]), ClaudeResult(text="x"))
    assert kept(memory) == ["0", "1", "2"]
    assert [place.turns for place in places] == [(), (), ()]


def test_undo_and_clear() -> None:
    """undo takes the last turn of a conversation, the one used last by default; clear takes one or all."""
    memory = Memory()
    with pytest.raises(OptionError, match="nothing to undo"):
        memory.undo()
    ask(memory, "1", "a", name="x")
    ask(memory, "2", "b", name="y")
    ask(memory, "3", "c", name="x")
    assert [memory.undo()[1].asked, memory.undo()[1].asked, memory.undo()[0]] == ["c", "a", "y"]
    ask(memory, "1", "a", name="x")
    ask(memory, "2", "b", name="y")
    assert memory.undo("x")[1].asked == "a"
    with pytest.raises(OptionError, match=r"no conversation 'yy'; did you mean 'y'\? \(known: y\)"):
        memory.clear("yy")
    assert memory.clear("y") == 1
    assert memory.clear() == 0


def test_long_conversations_are_cut_by_whole_turns() -> None:
    """The newest turns that fit are sent, on both sides of the limit, and the receipt says how many are not."""
    memory = Memory()
    for cell in "123":
        ask(memory, cell, cell * 8, answer=ClaudeResult(text="x" * 4))  # 3 tokens each
    assert [turn.tokens for turn in memory.turns("c")] == [3, 3, 3]
    for limit, sent in ((9, 3), (8, 2), (6, 2), (5, 1), (3, 1), (2, 0)):
        place = memory.look("c", None, limit_tokens=limit)
        assert (len(place.turns), place.left_out) == (sent, 3 - sent)
        assert [turn.asked[0] for turn in place.turns] == list("123")[3 - sent :]
    with memory.place("c", None, limit_tokens=6) as place:
        told = place.keep(request_of([{"role": "user", "content": "q"}]), ClaudeResult(text="a"))
    assert told.notice == "turn 4 of c, without the 1 oldest (memory_tokens=6)"
    assert len(memory.turns("c")) == 4


@dataclass
class Model:
    """What a person expects: cells in the order in which they first asked, each with its newest answers."""

    cells: Dict[str, List[str]] = field(default_factory=dict)

    def run(self, cell: str, texts: List[str], answered: bool) -> List[List[str]]:
        before: List[str] = []
        for other in self.cells:
            if other == cell:
                break
            before += self.cells[other]
        self.cells.setdefault(cell, [])
        sent = [before + (texts[:index] if answered else []) + [texts[index]] for index in range(len(texts))]
        if answered:
            self.cells[cell] = list(texts)
        return sent

    def undo(self) -> None:
        for cell in reversed(list(self.cells)):
            if self.cells[cell]:
                self.cells[cell].pop()
                return

    @property
    def turns(self) -> List[str]:
        return [text for texts in self.cells.values() for text in texts]


RUNS = st.tuples(
    st.sampled_from("ABCD"), st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=3), st.booleans()
)


@given(st.lists(st.one_of(RUNS, RUNS, RUNS, st.sampled_from(["undo", "clear"])), max_size=30))
def test_any_order_of_runs_gives_the_turns_of_the_model(steps: List[Any]) -> None:
    """Runs, repeated runs, failing runs, undo and clear, in any order: what is sent and what is kept is what one expects."""
    memory, model = Memory(), Model()
    for number, step in enumerate(steps):
        if step == "undo":
            if model.turns:
                memory.undo("c")
            model.undo()
        elif step == "clear":
            memory.clear()
            model = Model()
        else:
            cell, texts, answered = step
            answer = None if answered else ClaudeResult(text="no", stop_reason="refusal")
            run = CellRun(cell, str(number))
            sent = [questions(ask(memory, run, text, answer=answer)) for text in texts]
            assert sent == model.run(cell, texts, answered)
        assert kept(memory) == model.turns


NOTEBOOK = st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=3), min_size=1, max_size=5)


@given(NOTEBOOK, st.lists(st.integers(0, 4), max_size=10), st.integers(1, 40))
def test_run_all_sends_the_same_as_the_first_time(notebook: List[List[str]], reruns: List[int], limit: int) -> None:
    """Cells run from top to bottom, then some of them again, then all after a restart: the same requests to the byte."""

    def run(memory: Memory, cell: int, number: int) -> List[List[Message]]:
        cell_run = CellRun(str(cell), str(number))
        return [ask(memory, cell_run, text, limit=limit) for text in notebook[cell]]

    memory = Memory()
    first = [run(memory, cell, 0) for cell in range(len(notebook))]
    for number, cell in enumerate(reruns, 1):
        if cell < len(notebook):
            assert run(memory, cell, number) == first[cell]
    fresh = Memory()
    assert [run(fresh, cell, 0) for cell in range(len(notebook))] == first


@given(NOTEBOOK, st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=15))
def test_a_run_from_top_to_bottom_equals_that_of_a_fresh_kernel(
    notebook: List[List[str]], tries: List[Tuple[int, bool]]
) -> None:
    """Cells that failed at first, were changed or run again: once each has run in its order, it sends what a restart would."""
    memory, begun = Memory(), 0
    refused = ClaudeResult(text="no", stop_reason="refusal")
    for number, (cell, answered) in enumerate(tries):
        cell = min(cell, begun, len(notebook) - 1)  # nobody runs the last cell first
        begun = max(begun, cell + 1)
        for text in notebook[cell] if answered else ["a slip of the pen"]:
            ask(memory, CellRun(str(cell), str(number)), text, answer=None if answered else refused)
    cells = [str(cell) for cell in range(len(notebook))]
    last = [[ask(memory, CellRun(cell, "last"), text) for text in notebook[int(cell)]] for cell in cells]
    fresh = Memory()
    assert last == [[ask(fresh, CellRun(cell, "1"), text) for text in notebook[int(cell)]] for cell in cells]
    assert memory.turns("c") == fresh.turns("c")


def test_threads_lose_no_turn() -> None:
    """Turns of several threads all enter."""
    memory = Memory()

    def work(thread: int) -> None:
        for number in range(50):
            ask(memory, CellRun(f"{thread}-{number}", "1"), "q")
            ask(memory, None, "q")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.turns("c")) == 400


def test_run_remembers_where_it_is_told_to(
    make: Callable[..., AsyncAgentOrchestrator], simulator: Simulator, run: Any
) -> None:
    """use_memory=True makes calls turns of the agent's conversation, a named one, or nobody's; False knows nothing of them."""

    async def work() -> None:
        orchestrator = make()
        first = await orchestrator.run("one", agent="reviewer", use_memory=True)
        again = await orchestrator.run("two", agent="reviewer", use_memory=True, turn="t")
        assert (first.notice, again.notice) == ("turn 1 of reviewer", "turn 2 of reviewer")
        sent = simulator.requests[-1].body["messages"]
        assert sent == [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "two"},
        ]
        cached = await orchestrator.run("two", agent="reviewer", use_memory=True, turn="t")
        assert cached.cached
        assert len(orchestrator.memory.turns("reviewer")) == 2
        await orchestrator.run("three", agent=Agent("reviewer", "Another."), use_memory=True)
        assert len(simulator.requests[-1].body["messages"]) == 5
        await orchestrator.run("four", agent="reviewer", use_memory=False)
        await orchestrator.run("five", agent="reviewer")
        assert [len(request.body["messages"]) for request in simulator.requests[-2:]] == [1, 1]
        await orchestrator.run("six", agent="reviewer", use_memory=True, memory="mine")
        await orchestrator.run("seven", use_memory=True)
        assert [len(request.body["messages"]) for request in simulator.requests[-2:]] == [1, 1]
        assert orchestrator.memory.names() == ["default", "mine", "reviewer"]
        assert len(orchestrator.memory.turns("reviewer")) == 3
        await orchestrator.close()

    run(work())


def test_request_shows_the_turns_and_takes_no_place(make: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:
    """What `request` gives is what `run` sends next, fingerprint and all, and asking for it changes nothing."""

    async def work() -> None:
        orchestrator = make()
        options: Dict[str, Any] = {"use_memory": True, "turn": CellRun("A", "1")}
        for text in ("one", "two"):
            request = orchestrator.request(text, **options)
            assert orchestrator.request(text, **options).fingerprint == request.fingerprint
            assert str(orchestrator.memory.look("default", options["turn"], limit_tokens=ENDLESS)).endswith(
                " of default"
            )
            result = await orchestrator.run(text, **options)
            assert result.fingerprint == request.fingerprint
        assert len(request.body["messages"]) == 3
        # Another run of the cell begins where the cell stands.
        assert len(orchestrator.request("one", use_memory=True, turn=CellRun("A", "2")).body["messages"]) == 1
        await orchestrator.close()

    run(work())


def test_the_notice_stays_with_the_fence(
    make: Callable[..., AsyncAgentOrchestrator], simulator: Simulator, run: Any
) -> None:
    """As long as a turn with data in a fence is sent, the system prompt says what a fence is; the turn is sent as it was."""

    async def work() -> None:
        orchestrator = make()
        await orchestrator.run("Read {{ x }}", variables={"x": "a\n{{ secret }}"}, use_memory=True)
        await orchestrator.run("And {{ y }}?", variables={"y": 1}, use_memory=True)
        body = simulator.requests[-1].body
        assert body["system"] == DATA_NOTICE
        assert body["messages"][0]["content"] == 'Read <data name="x">\na\n{{ secret }}\n</data>'
        await orchestrator.run("Then?", use_memory=True, memory_tokens=1)
        assert "system" not in simulator.requests[-1].body
        await orchestrator.close()

    run(work())


def test_a_question_of_blocks_is_sent_again_as_it_was() -> None:
    """Images and documents stay in the conversation as they were sent, and are named where a turn is shown."""
    memory = Memory()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    asked: Any = [{"type": "text", "text": 'Look: <data name="x">\na\n</data>'}, image]
    ask(memory, "1", asked)
    sent: Any = ask(memory, "2", "b")
    assert sent[0] == ("user", asked)
    turn = memory.turns("c")[0]
    assert (turn.fenced, turn.question.endswith("[image]"), turn.tokens > 1600) == (True, True, True)


def test_a_repaired_answer_is_one_turn(make: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:
    """Where an answer had to be asked for once more to fit a schema, the question stands with the answer that fits."""
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }

    async def work() -> None:
        answers = iter(['{"n": "one"}', '{"n": 1}', "fine", "not JSON", "not JSON either"])
        orchestrator = make(transport=FakeTransport(lambda request: next(answers)))
        assert (await orchestrator.run("one", use_memory=True, schema=schema)).parsed == {"n": 1}
        await orchestrator.run("two", use_memory=True)
        with pytest.raises(ClaudeForceError):
            await orchestrator.run("three", use_memory=True, schema=schema)
        turns = orchestrator.memory.turns()
        assert [(turn.asked, turn.answer) for turn in turns] == [("one", '{"n": 1}'), ("two", "fine")]
        await orchestrator.close()

    run(work())


def test_a_failed_call_does_not_enter(make: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:
    """An error of the API, a refusal, an unusable prompt and a cancelled call leave the conversation as it was."""

    async def work() -> None:
        gate = asyncio.Event()

        async def answer(request: ClaudeRequest) -> Any:
            asked = request.body["messages"][-1]["content"]
            if asked == "fail":
                raise ServerError("down")
            if asked == "refuse":
                return {"content": [{"type": "text", "text": "no"}], "stop_reason": "refusal"}
            if asked == "wait":
                await gate.wait()
            return "re: " + asked

        orchestrator = make(transport=FakeTransport(answer), max_retries=0)
        await orchestrator.run("one", use_memory=True, turn="A")
        for turn in ("A", "B", None):
            with pytest.raises(ServerError):
                await orchestrator.run("fail", use_memory=True, turn=turn)
            with pytest.raises(ClaudeForceError):
                await orchestrator.run("{{ nothing }}", variables={}, use_memory=True, turn=turn)
            assert (await orchestrator.run("refuse", use_memory=True, turn=turn)).notice.endswith("default (refused)")
            task = asyncio.get_running_loop().create_task(orchestrator.run("wait", use_memory=True, turn=turn))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [turn.asked for turn in orchestrator.memory.turns()] == ["one"]
        await orchestrator.close()

    run(work())


def test_the_budget_counts_the_turns(make: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:
    """The worst case of a call has the earlier turns in it."""

    async def work() -> None:
        orchestrator = make()
        await orchestrator.run("x" * 40_000, use_memory=True, model="haiku", max_tokens=10, thinking="off")
        await orchestrator.run("short", use_memory=False, model="haiku", max_tokens=10, thinking="off", budget="0.001")
        with pytest.raises(BudgetExceededError):
            await orchestrator.run(
                "short", use_memory=True, model="haiku", max_tokens=10, thinking="off", budget="0.001"
            )
        await orchestrator.close()

    run(work())


def test_rows_have_no_conversation(make: Callable[..., AsyncAgentOrchestrator], simulator: Simulator, run: Any) -> None:
    """run_many refuses use_memory=True in one line, before anything is sent."""

    async def work() -> None:
        orchestrator = make()
        with pytest.raises(OptionError, match="a conversation needs its prompts in order"):
            await orchestrator.run_many(["a", "b"], use_memory=True)
        await orchestrator.close()

    run(work())
    assert not simulator.requests


def test_tasks_of_one_conversation(make: Callable[..., AsyncAgentOrchestrator], run: Any) -> None:
    """Calls of several tasks at once all enter, and a later one is sent them all in the order in which they began."""

    async def work() -> None:
        orchestrator = make()
        asked = [f"q{number}" for number in range(20)]
        await asyncio.gather(*(orchestrator.run(text, use_memory=True, turn=text) for text in asked))
        body = orchestrator.request("last", use_memory=True).body
        assert [each["content"] for each in body["messages"] if each["role"] == "user"] == [*asked, "last"]
        await orchestrator.close()

    run(work())
