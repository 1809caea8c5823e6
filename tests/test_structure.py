"""The package stays easy to navigate: rooms, and modules and functions that fit on a few screens."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Dict, Iterator, Tuple

import pytest

import claude_force_nb
from claude_force_nb.vocabulary import counted

PACKAGE = Path(claude_force_nb.__file__).resolve().parent
TESTS = Path(__file__).resolve().parent

MOST_ROOT_MODULES = 8
MOST_MODULE_LINES = 400
MOST_FUNCTION_LINES = 60


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _functions(tree: ast.AST) -> Iterator[Tuple[str, int]]:
    """Yield each function of a module with the number of lines of its body, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.fixture(scope="module")
def sources() -> Dict[str, str]:
    """Return the text of each module."""
    return {_name(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.fixture(scope="module")
def trees(sources: Dict[str, str]) -> Dict[str, ast.AST]:
    """Return the syntax tree of each module."""
    return {name: ast.parse(text) for name, text in sources.items()}


def test_the_root_of_the_package_is_small() -> None:
    """Modules that are not used everywhere belong in a room."""
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_ROOT_MODULES


def test_modules_and_functions_fit_on_a_few_screens(sources: Dict[str, str], trees: Dict[str, ast.AST]) -> None:
    """A module has at most 400 lines, and the body of a function at most 60."""
    lengths = {name: len(text.splitlines()) for name, text in sources.items()}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_MODULE_LINES} == {}
    functions = [(name, *found) for name, tree in trees.items() for found in _functions(tree)]
    assert len(functions) > 1000
    assert [found for found in functions if found[2] > MOST_FUNCTION_LINES] == []


def test_each_room_says_what_lives_there() -> None:
    """The docstring of a room has at least three sentences; those of the rooms inside ``notebook/`` at least one."""
    rooms = [path for path in PACKAGE.glob("*/__init__.py")]
    assert len(rooms) > 10
    for path in rooms:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert text.count(".\n") + text.count(". ") + text.endswith(".") >= 3, _name(path)
    for path in PACKAGE.glob("*/*/__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), _name(path)


def test_tests_are_in_the_room_of_what_they_test() -> None:
    """Each folder of tests is a room, or says what its tests need."""
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    folders = {path.parent.name for path in TESTS.glob("*/test_*.py")}
    assert folders <= rooms | {"browser", "kernel"}


def test_nothing_private_is_imported(trees: Dict[str, ast.AST]) -> None:
    """Names that begin with an underscore are used in their own module only."""
    private = [
        f"{name} takes {node.module}.{alias.name}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert private == []


# A number in braces, and the noun behind it.
_COUNTED = re.compile(
    r"\{(?P<number>[^{}]*)\} (?:[a-z]+ )?(entries|rows|answers|calls|tokens|models|agents|turns|jobs|requests|cells|lines|files|keys"
    r"|prompts|images|bytes|characters|columns|messages|fields|times|pages)\b"
)
_COUNT = re.compile(
    r"\blen\(|\b(count|number|rows|entries|calls|hits|pages|turns|tokens|clear\(\)|prune\(\)|size_bytes)\b"
)


def test_one_thing_is_not_many(sources: Dict[str, str]) -> None:
    """A number in a message has its noun from `vocabulary.counted`, so that nobody reads of 1 rows."""
    wrong = [
        f"{name}: {found.group()}"
        for name, text in sources.items()
        if not name.startswith("simulator/")  # which knows nothing of the client, and speaks as the API does
        for found in _COUNTED.finditer(text)
        if _COUNT.search(found["number"]) and "OVERHEAD_BYTES" not in found["number"]  # this one is never small
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "row", "0 rows"), (1, "row", "1 row"), (2000, "shared entry", "2,000 shared entries"), (1, "entry", "1 entry"), (3, "key", "3 keys")],
)  # fmt: skip
def test_numbers_with_their_nouns(number: int, noun: str, text: str) -> None:
    """One is one, and whatever ends in -y keeps its vowel."""
    assert counted(number, noun) == text
