"""The text of simulated answers: labels, reviews and everything else; and values for JSON schemas."""

from __future__ import annotations

import textwrap
from inspect import getsource
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.messages.code import code_blocks
from claude_force_nb.simulator.schema import example
from claude_force_nb.simulator.words import compose, find_labels, fixed_size

DIGEST = "a1b2c3d4e5f6"
SENTIMENT = "Label the sentiment of this review as positive, neutral or negative: "


def answer(prompt: str, system: str = "") -> str:
    return compose(system, prompt, 1, "claude-haiku-4-5", DIGEST)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love it, works great", "positive"),
        ("Broke after two days, I want a refund", "negative"),
        ("Not good at all", "negative"),
        ("It came on Tuesday", "neutral"),
        ("", "neutral"),
    ],
)
def test_sentiment_is_plausible(text: str, label: str) -> None:
    """The label follows the words of the text, fenced or not, and nothing else is said."""
    assert answer(SENTIMENT + text) == label
    assert answer(SENTIMENT + f'<data name="text">{text}</data>') == label


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("Classify this mail as spam or ham", ("spam", "ham")),
        ("Answer with yes or no: is it raining?", ("yes", "no")),
        ("Answer with exactly one of: billing, shipping, other", ("billing", "shipping", "other")),
        ("Classify the ticket. Labels: bug, feature, question", ("bug", "feature", "question")),
        ("Sentiment (positive/neutral/negative):", ("positive", "neutral", "negative")),
        ("Label it as 'very-good', 'fair', or 'poor'.", ("very-good", "fair", "poor")),
        ("Which is better, lists or tuples?", ()),
        ("Explain apples, pears and plums.", ()),
        ("Classify each text and answer briefly", ()),
    ],
)
def test_labels_are_found_only_where_they_are_asked_for(prompt: str, labels: Any) -> None:
    """A list of words is a list of labels only near a word that says so."""
    assert find_labels(prompt) == labels
    if labels:
        assert answer(prompt) in labels
        assert answer("The text.", system=prompt) in labels
    else:
        assert "imulated" in answer(prompt)


def test_labels_inside_data_are_not_instructions() -> None:
    """Data that asks for a label gets a simulated answer instead."""
    assert "Simulated answer" in answer('Summarise: <data name="x">Classify as spam or ham</data>')


def test_a_review_names_the_code() -> None:
    """Bullets with identifiers of the code, and a first line that says no model has read it."""
    source = getsource(textwrap.shorten)
    for prompt in (
        "Review:\n```python\n" + source + "```",
        "Review this: " + '<data name="source">' + source + "</data>",
    ):
        text = answer(prompt)
        assert text.startswith("Simulated answer")
        assert "- `shorten`: " in text
        assert "`TextWrapper`" in text


def test_tests_for_code_are_an_outline() -> None:
    """Asked for tests, it gives a block of code that says it is simulated."""
    text = answer("Write tests for this function:\n" + getsource(textwrap.dedent))
    assert "def test_dedent" in text
    assert "# Simulated" in text


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("a function that reverses the words of a sentence", "python"),
        ("Write a short Python function which parses dates", "python"),
        ("Implement quicksort", "python"),
        ("a decorator to return", "python"),
        ("Give me a SQL query that counts orders by day", "sql"),
        ("Write a shell script for backups", "bash"),
        ("Create an HTML snippet for a footer", "html"),
        ("make a JavaScript function", "javascript"),
        ("What is a generator?", ""),
        ("Explain the function that sorts", ""),
        ("Write a docstring for this function: half", ""),
        ("Show the sums of each class", ""),
    ],
)
def test_code_is_given_where_it_is_asked_for(prompt: str, language: str) -> None:
    """A first try of as=code has one block, which runs and says that no model wrote it."""
    blocks = code_blocks(answer(prompt))
    assert [block.language for block in blocks] == ([language] if language else [])
    assert "imulated" in answer(prompt)
    for block in blocks:
        assert "Simulated" in block.text
        if language == "python":
            exec(compile(block.text, "answer", "exec"), {})


def test_a_cell_that_failed_comes_back_without_its_traceback() -> None:
    """What %claude_fix asks with is a cell again, though not mended, and the words around it are left out."""
    system = "Give the whole cell as it should be, in one Python code block."
    failed = "The cell that failed:\n\nfor n in [1]:\n    print(n / 0)\n\nTraceback (most recent call last):\nZeroDivisionError"
    (block,) = code_blocks(answer(f'What is wrong? <data name="last_error">\n{failed}\n</data>', system))
    assert block.text.split("\n", 1) == [
        "# Simulated: the code as it was given; a real model would mend it here.",
        "for n in [1]:\n    print(n / 0)",
    ]
    (block,) = code_blocks(answer("Refactor this:\n```python\nimport os\ndef f(): return os.sep\n```"))
    assert "def f(): return os.sep" in block.text


def test_long_prompts_get_several_paragraphs() -> None:
    """Markdown paragraphs that quote the prompt and say that they are simulated."""
    text = answer("Explain the history of mathematics in the nineteenth century. " * 8, system="You teach.")
    assert text.count("\n\n") >= 2
    assert "mathematics" in text
    assert "You teach." in text


@given(st.text(max_size=300), st.text(max_size=80))
def test_nothing_passes_for_a_real_answer(prompt: str, system: str) -> None:
    """Whatever is asked, the answer is a label that was offered or says that it is simulated."""
    text = answer(prompt, system)
    assert "imulated" in text or text in find_labels(prompt) or text in find_labels(system)


@given(st.integers(1, 5000))
def test_fixed_size_is_exact(size: int) -> None:
    """The text has exactly the bytes asked for."""
    assert len(fixed_size(size, DIGEST).encode("utf-8")) == size


SCHEMAS: Dict[str, Any] = {
    "nested": {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "at": {"$ref": "#/$defs/at"},
        },
        "required": ["tags", "at"],
        "$defs": {
            "at": {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"]}
        },
    },
    "optional": {"type": "object", "properties": {"note": {"anyOf": [{"type": "null"}, {"type": "string"}]}}},
    "numbers": {
        "type": "object",
        "properties": {
            "low": {"type": "number", "exclusiveMinimum": 7},
            "high": {"type": "integer", "maximum": -3},
            "step": {"type": "integer", "minimum": 4, "multipleOf": 3},
        },
    },
    "recursive": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 30},
            "child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#"}},
        },
        "required": ["name", "child", "children"],
    },
    "all": {"allOf": [{"type": "object", "properties": {"a": {"const": 3}}, "required": ["a"]}, {"required": ["b"]}]},
    "short": {"type": "string", "maxLength": 4},
    "choice": {"enum": ["x", "y"]},
    "either": {"type": ["null", "boolean"]},
    "anything": {},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string"}],
        "items": False,
        "minItems": 2,
    },
    "tuple and more": {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 3},
    "tuple cut short": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "maxItems": 1},
    "between": {"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 4},
    "between whole numbers": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    "below nothing": {"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 0},
    "from below": {"type": "number", "minimum": -2, "exclusiveMaximum": -1.5},
    "anchor": {
        "type": "object",
        "properties": {"a": {"$ref": "#at"}},
        "$defs": {"at": {"$anchor": "at", "type": "integer"}},
    },
    "needs another": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a"],
        "dependentRequired": {"a": ["b"]},
    },
}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_example_is_valid(name: str) -> None:
    """The value is one that the schema takes, for several digests."""
    import jsonschema

    for digest in (DIGEST, "00" * 6, "ff" * 6):
        jsonschema.validate(example(SCHEMAS[name], digest), SCHEMAS[name])
