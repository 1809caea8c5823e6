"""Find and compile the expressions of a template, and tell which values they need. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from claude_force_nb.errors import TemplateError
from claude_force_nb.messages.nesting import MOST_DEPTH
from claude_force_nb.vocabulary import did_you_mean

from .filters import FILTERS
from .plain import find_name, is_missing
from .tables import column_name
from .values import file

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["BUILTIN_NAMES", "HOW_TO_SEND_BRACES", "SAFE_BUILTINS", "Expression", "filter_names", "parse", "short"]

# A hint for prompts that contain braces of another template language, for example in the source of a web page.
HOW_TO_SEND_BRACES = "; to send {{ }} literally, use --raw (in a batch, write {{ '{{…}}' }})"


def _function(builtin: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a type in a function: the type itself would give access to ``str.format``, which bypasses the sandbox."""
    return lambda *arguments, **named: builtin(*arguments, **named)


# Functions that expressions may use in addition to names of the notebook. Only `file` accesses anything outside: it
# reads a file that the template, or a value that the user inserted there, names.
SAFE_BUILTINS: Dict[str, Any] = {
    builtin.__name__: _function(builtin)
    for builtin in (
        *(abs, all, any, bool, dict, enumerate, float, int, len, list, max, min),
        *(repr, round, set, sorted, str, sum, tuple, zip),
        file,
    )
}
BUILTIN_NAMES = frozenset(SAFE_BUILTINS)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    class Environment(SandboxedEnvironment):
        """Prefers data to methods: ``order.items`` is the key ``items`` if the record has one."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            found = _data(obj, attribute)
            return super().getattr(obj, attribute) if found is _NOTHING else found

        def getitem(self, obj: Any, argument: Any) -> Any:
            # Column names are text here, so convert numbers and tuples: row[2], row["a", "b"].
            label = (
                column_name(argument) if isinstance(argument, (int, tuple)) and _has_texts(obj, argument) else argument
            )
            found = _data(obj, label) if isinstance(label, str) else _NOTHING
            return super().getitem(obj, argument) if found is _NOTHING else found

    environment = Environment(undefined=StrictUndefined)
    # Jinja's global functions would hide names of the notebook.
    environment.globals.clear()
    environment.filters.update(FILTERS)
    return environment


_NOTHING = object()


def _has_texts(value: Any, label: Any) -> bool:
    """Return whether a value is a mapping without this exact key."""
    return isinstance(value, Mapping) and label not in value


def _data(value: Any, name: str) -> Any:
    """Return the item of a mapping, or of a pandas row or table, with this name; `_NOTHING` if there is none."""
    if isinstance(value, Mapping):
        found = find_name(value, name)
        return _NOTHING if found is None else value[found]
    kind = type(value)
    if (kind.__module__ or "").partition(".")[0] == "pandas" and kind.__name__ in ("Series", "DataFrame"):
        labels = value.index if kind.__name__ == "Series" else value.columns
        return value[name] if name in labels else _NOTHING
    return _NOTHING


# A name of the notebook, and the attributes and items that lead from it to a value.
Path = Tuple[str, Tuple[Tuple[str, Any], ...]]


@dataclass(frozen=True)
class Expression:
    """The expression between ``{{`` and ``}}``.

    Attributes
    ----------
    source : str
        The expression as written.
    names : tuple of str
        The names that it uses, sorted.
    evaluate : callable
        Takes a mapping of names to values and returns the value of the expression.
    needed : tuple of Path
        Values that must not be missing.
    is_name : bool
        Whether the expression is just a name.
    optional : frozenset of str
        Names that may be undefined, because of ``name | default(…)`` or ``name is defined``.
    """

    source: str
    names: Tuple[str, ...]
    evaluate: Callable[..., Any]
    needed: Tuple[Path, ...] = ()
    is_name: bool = False
    optional: FrozenSet[str] = frozenset()

    def __str__(self) -> str:
        return "{{ " + short(self.source) + " }}"

    def first_missing(self, known: Mapping[str, Any]) -> Optional[str]:
        """Return the first missing value that the expression does not handle, as written; else None."""
        for name, steps in self.needed:
            if name not in known:  # an optional name: undefined, not missing
                continue
            value, written = known[name], name
            if is_missing(value):
                return written
            for kind, argument in steps:
                value = getattr(_environment(), kind)(value, argument)
                written += f".{argument}" if kind == "getattr" else f"[{argument!r}]"
                if is_missing(value):
                    return written
        return None


# Filters that accept a missing value.
_TAKE_NOTHING = ("default", "d", "json", "tojson", "list", "length", "count")
# Filters and tests that accept an undefined name, as in Jinja.
_TAKE_UNDEFINED = ("default", "d", "defined", "undefined")


def _needed(node: Any) -> Iterator[Path]:
    """Yield the paths of values that must not be missing: not those in ``or``, ``if``, ``is``, ``default`` or a list."""
    from jinja2 import nodes

    path = _path(node)
    if path is not None:
        yield path
    elif isinstance(node, nodes.Filter):
        if node.name not in _TAKE_NOTHING and node.node is not None:
            yield from _needed(node.node)
    elif isinstance(node, (nodes.Getattr, nodes.Getitem)):
        yield from _needed(node.node)
    elif isinstance(node, nodes.Concat):
        for each in node.nodes:
            yield from _needed(each)
    elif isinstance(node, nodes.BinExpr) and not isinstance(node, (nodes.And, nodes.Or)):
        yield from _needed(node.left)
        yield from _needed(node.right)
    elif isinstance(node, nodes.Call):
        if isinstance(node.node, nodes.Name) and node.node.name in BUILTIN_NAMES:
            for each in node.args:
                yield from _needed(each)
        elif isinstance(node.node, nodes.Getattr):
            yield from _needed(node.node.node)


def _optional(tree: Any) -> FrozenSet[str]:
    """Return the names that an expression handles if undefined. If it uses one elsewhere unchecked, evaluating it fails."""
    from jinja2 import nodes

    asking = [
        node
        for node in (tree, *tree.find_all((nodes.Filter, nodes.Test)))
        if isinstance(node, (nodes.Filter, nodes.Test))
    ]
    return frozenset(
        node.node.name for node in asking if node.name in _TAKE_UNDEFINED and isinstance(node.node, nodes.Name)
    )


def _path(node: nodes.Node) -> Optional[Path]:
    """Return the path to a value if the node is nothing but a path; else None."""
    from jinja2 import nodes

    steps: List[Tuple[str, Any]] = []
    while not isinstance(node, nodes.Name):
        if isinstance(node, nodes.Getattr):
            steps.append(("getattr", node.attr))
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            steps.append(("getitem", node.arg.value))
        else:
            return None
        node = node.node
    return node.name, tuple(reversed(steps))


# The tokens that matter for finding the end of an expression: quoted text, brackets, and the end itself.
_LANDMARK = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[(\[{]|\}\}|[)\]}]""", re.DOTALL)


def _end(template: str, start: int) -> int:
    """Return the position of the ``}}`` that ends the expression at `start`; -1 if there is none."""
    depth = 0
    position = start
    while True:
        match = _LANDMARK.search(template, position)
        if match is None:
            return -1
        found, position = match.group(), match.end()
        if found in ("(", "[", "{"):
            depth += 1
        elif found == "}}" and not depth:
            return match.start()
        elif found in (")", "]", "}", "}}"):
            depth = max(0, depth - 1)
            position = match.start() + 1


# Jinja and Python go down into an expression level by level. Brackets and operators in a row are what makes levels.
_LEVELS = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<next>[,:])"""
    r"""|(?P<operator>\b(?:and|or|not|if|else|is|in)\b|\*\*|//|[=!<>]=|[-+*/%~|.<>])""",
    re.DOTALL,
)
_MOST_BRACKETS = 40


def _is_too_deep(source: str) -> bool:
    """Return whether an expression has more than 40 levels of brackets or `MOST_DEPTH` operators in a row; runs in linear time."""
    # For each open bracket: the operators of the current item, the levels below them, and the levels of the deepest item before.
    levels = [[0, 0, 0]]
    for match in _LEVELS.finditer(source):
        here = levels[-1]
        if match.lastgroup in ("open", "operator"):
            here[0] += 1
        if match.lastgroup == "open":
            levels.append([0, 0, 0])
        elif match.lastgroup == "next":
            levels[-1] = [0, 0, max(here[2], here[0] + here[1])]
        elif match.lastgroup == "close" and len(levels) > 1:
            levels.pop()
            levels[-1][1] = max(levels[-1][1], here[2], here[0] + here[1])
        if len(levels) > _MOST_BRACKETS + 1 or levels[-1][0] + levels[-1][1] > MOST_DEPTH:
            return True
    return False


@lru_cache(maxsize=256)
def parse(template: str) -> Sequence[Union[str, Expression]]:
    """Split a template into literal text, unchanged, and compiled expressions."""
    parts: List[Union[str, Expression]] = []
    position = 0
    while True:
        start = template.find("{{", position)
        if start < 0:
            parts.append(template[position:])
            return tuple(part for part in parts if part)
        line = template.count("\n", 0, start) + 1
        parts.append(template[position:start])
        end = _end(template, start + 2)
        if end < 0:
            raise TemplateError(
                f"{{{{ without }}}} (line {line} of the prompt); write {{{{ '{{{{' }}}} for two literal braces{HOW_TO_SEND_BRACES}"
            )
        parts.append(_compile(template[start + 2 : end].strip(), line))
        position = end + 2


def _compile(source: str, line: int) -> Expression:
    from jinja2 import TemplateError as JinjaError
    from jinja2 import nodes

    if not source:
        raise TemplateError(
            f"{{{{ }}}} is empty (line {line} of the prompt); put a name or an expression of the notebook inside{HOW_TO_SEND_BRACES}"
        )
    environment = _environment()
    try:
        if _is_too_deep(source):
            raise RecursionError
        # Compile first, which fails if anything follows the expression.
        evaluate: Callable[..., Any] = environment.compile_expression(source, undefined_to_none=False)
        tree = environment.parse("{{ " + source + " }}").body[0].nodes[0]  # type: ignore[attr-defined]
        used = {node.name for node in (tree, *tree.find_all(nodes.Name)) if isinstance(node, nodes.Name)}
    except (JinjaError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason, near = _reason(error)
        raise TemplateError(
            f"{reason} in {{{{ {short(source)} }}}} (line {line} of the prompt){near}{HOW_TO_SEND_BRACES}"
        ) from None
    if "self" in used:
        raise TemplateError(f"self cannot be used in {{{{ {short(source)} }}}} (line {line}); give it another name")
    if source in used:  # look up a single name directly, without creating a context each time
        evaluate = itemgetter(source)
    return Expression(
        source, tuple(sorted(used)), evaluate, tuple(_needed(tree)), is_name=source in used, optional=_optional(tree)
    )


def filter_names() -> List[str]:
    """Return the names of the available filters, those of this package first."""
    others = sorted(name for name in _environment().filters if name.isidentifier() and name not in FILTERS)
    return [*FILTERS, *others]


_NO_FILTER = re.compile(r"No (filter|test) named '(\w+)'")


def _reason(error: Exception) -> Tuple[str, str]:
    """Return why an expression cannot be compiled, and a suggestion if a filter or test is unknown."""
    if isinstance(error, (RecursionError, MemoryError)):  # the latter is Python 3.8's for too many brackets
        return "too many levels of brackets or operators", "; compute it in a cell and insert the result"
    message = short(getattr(error, "message", None) or error)
    match = _NO_FILTER.match(message)
    if match is None:
        return message, ""
    kind, name = match.groups()
    environment = _environment()
    known = environment.filters if kind == "filter" else environment.tests
    return f"there is no {kind} {name!r}", did_you_mean(name, [each for each in known if each.isidentifier()])


def short(value: Any, limit: int = 120) -> str:
    """Return a text on one line, shortened for an error message."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
