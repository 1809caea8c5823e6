"""The message of a miss names the difference to the nearest question in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.answers import answer, opened, question

from claude_force_nb.answers import RecordedAnswers
from claude_force_nb.errors import AnswerMissError, CacheMissError, OptionError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.prompts.fences import fence

PROMPT = "Review this function, and say in one sentence what is wrong with it."
FENCED = "Summarise {} in the style of {}."


def miss(tmp_path: Path, asked: ClaudeRequest, *known: ClaudeRequest, **options: Any) -> str:
    """Return the message of a frozen file with answers to `known` when `asked` is asked."""
    file = opened(tmp_path / "x.jsonl", **options)
    for request in known:
        file.put(request, answer("x"))
    file.save()
    with pytest.raises(AnswerMissError) as caught:
        RecordedAnswers(opened(tmp_path / "x.jsonl"), "frozen").find(asked, reads_cache=True)
    assert isinstance(caught.value, CacheMissError)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "claude-opus-4-8"}, "its model (claude-opus-4-8 where the file has claude-haiku-4-5)"),
        ({"max_tokens": 200}, "max_tokens (200 where the file has 100)"),
        ({"system": "Be brief."}, 'its system prompt ("Be brief." where the file has nothing)'),
        ({"temperature": 0.5}, "temperature (0.5 where the file has null)"),
    ],
)
def test_what_differs_in_the_options_is_named(tmp_path: Path, change: Any, said: str) -> None:
    """Model, bound, system prompt: each is said with what the file has."""
    text = miss(tmp_path, question(PROMPT, **change), question(PROMPT), question("Something else entirely"))
    assert said in text
    assert "and " not in text.partition("differs in")[2].partition(")")[0]


def test_one_word_of_a_prompt(tmp_path: Path) -> None:
    """The word is named, with the one in its place, and the nearest of several prompts is compared."""
    others = [question(f"Question {number} about monads") for number in range(20)]
    text = miss(tmp_path, question(PROMPT.replace("sentence", "word")), *others, question(PROMPT))
    assert text.startswith("x.jsonl has no answer to this prompt to claude-haiku-4-5; ")
    assert 'its prompt ("word" where the file has "sentence")' in text


def test_the_value_of_one_variable(tmp_path: Path) -> None:
    """A difference inside a fence is that of a variable, by its name."""
    old = FENCED.format(fence("report", "Sales rose\nby 4 percent"), fence("style", "a\npoem"))
    new = FENCED.format(fence("report", "Sales rose\nby 5 percent"), fence("style", "a\npoem"))
    assert 'the value of report ("5" where the file has "4")' in miss(tmp_path, question(new), question(old))


def test_the_text_of_an_agent(tmp_path: Path) -> None:
    """The agent is named, and what its text has now."""
    old = question(PROMPT, agent="reviewer", system="You are a strict reviewer.")
    new = question(PROMPT, agent="reviewer", system="You are a kind reviewer.")
    text = miss(tmp_path, new, old)
    assert "to reviewer (claude-haiku-4-5)" in text
    assert 'the text of agent reviewer ("kind" where the file has "strict")' in text


def test_sample_server_and_conversation(tmp_path: Path) -> None:
    """Fields outside the body are compared too."""
    one = question(PROMPT)
    assert "its sample (2 where the file has 1)" in miss(tmp_path, ClaudeRequest(body=one.body, sample=2), one)
    other = ClaudeRequest(body=one.body, base_url="http://127.0.0.1:8080")
    assert "its server (http://127.0.0.1:8080 where the file has https://api" in miss(tmp_path, other, one)
    turns = [*one.body["messages"], {"role": "assistant", "content": "ok"}, {"role": "user", "content": "go on"}]
    longer = question(PROMPT, messages=turns)
    assert "its conversation (3 messages where the file has 1)" in miss(tmp_path, longer, one)


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    """An empty file, or one without prompts, says only that the answer is not there."""
    text = "x.jsonl has no answer to this prompt to claude-haiku-4-5; record it, or run unfrozen"
    assert miss(tmp_path, question(PROMPT)) == text
    (tmp_path / "x.jsonl").write_bytes(b"")
    assert miss(tmp_path, question(PROMPT), question("else"), redact="prompts") == text


def test_many_misses_are_not_all_compared(tmp_path: Path) -> None:
    """The file is searched only for the first misses of a run, so that a large batch of misses ends in time."""
    file = opened(tmp_path / "x.jsonl")
    file.put(question(PROMPT), answer("x"))
    said = [file.describe_miss(question(PROMPT + str(number))) for number in range(100)]
    assert sum(bool(text) for text in said) == 20


def test_an_unknown_mode(tmp_path: Path) -> None:
    """An unknown mode is refused, and the nearest one is suggested."""
    file = opened(tmp_path / "x.jsonl")
    with pytest.raises(
        OptionError, match="answers_mode must be one of use, record, frozen, not 'frosen'; did you mean"
    ):
        RecordedAnswers(file, "frosen")
