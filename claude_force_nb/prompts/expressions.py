"""The expressions of a template: where they are, their compiled form, and which values they need. Pure."""

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
from claude_force_nb.vocabulary import did_you_mean

from .filters import FILTERS
from .plain import find_name, is_missing
from .tables import column_name
from .values import file

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["BUILTIN_NAMES", "HOW_TO_SEND_BRACES", "SAFE_BUILTINS", "Expression", "filter_names", "parse", "short"]

# For braces of other template languages, which a prompt about a web page has. In a batch they are filled in for each row.
HOW_TO_SEND_BRACES = "; --raw sends {{ }} as typed (in a batch {{ '{{…}}' }} does)"


def _function(builtin: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a type in a function, since ``str.format`` reached through the type itself would bypass the sandbox."""
    return lambda *arguments, **named: builtin(*arguments, **named)


# Functions that an expression may use although they are not names of the notebook. Of these only `file` reaches outside: it reads
# the file that the user's own words, or a value that they put there, name.
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
        """Prefers data to methods: ``order.items`` is the key ``items`` of a record that has one."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            found = _data(obj, attribute)
            return super().getattr(obj, attribute) if found is _NOTHING else found

        def getitem(self, obj: Any, argument: Any) -> Any:
            # Columns are texts here, also those of numbers or of several levels: row[2], row["a", "b"].
            label = (
                column_name(argument) if isinstance(argument, (int, tuple)) and _has_texts(obj, argument) else argument
            )
            found = _data(obj, label) if isinstance(label, str) else _NOTHING
            return super().getitem(obj, argument) if found is _NOTHING else found

    environment = Environment(undefined=StrictUndefined)
    # Jinja's own functions would hide names of the notebook.
    environment.globals.clear()
    environment.filters.update(FILTERS)
    return environment


_NOTHING = object()


def _has_texts(value: Any, label: Any) -> bool:
    """Return whether a value is a mapping that does not have a label as it is."""
    return isinstance(value, Mapping) and label not in value


def _data(value: Any, name: str) -> Any:
    """Return what a mapping, a row or a table of pandas has under a name; `_NOTHING` where it has nothing there."""
    if isinstance(value, Mapping):
        found = find_name(value, name)
        return _NOTHING if found is None else value[found]
    kind = type(value)
    if (kind.__module__ or "").partition(".")[0] == "pandas" and kind.__name__ in ("Series", "DataFrame"):
        labels = value.index if kind.__name__ == "Series" else value.columns
        return value[name] if name in labels else _NOTHING
    return _NOTHING


# A name of the notebook and the way from it to a value: attributes and items, as written.
Path = Tuple[str, Tuple[Tuple[str, Any], ...]]


@dataclass(frozen=True)
class Expression:
    """The expression between ``{{`` and ``}}``.

    Attributes
    ----------
    source : str
        As written.
    names : tuple of str
        The names that it uses, sorted.
    evaluate : callable
        Takes a mapping of the names to their values.
    needed : tuple of Path
        The values without which the expression has none.
    is_name : bool
        True if it is only a name.
    optional : frozenset of str
        Names that it asks about - ``name | default(…)``, ``name is defined`` - so that they may be undefined.
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
            if name not in known:  # an optional one, which is undefined rather than missing
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


# Filters that have something to say of nothing.
_TAKE_NOTHING = ("default", "d", "json", "tojson", "list", "length", "count")
# Filters and tests that take a name that is not defined, as in Jinja.
_TAKE_UNDEFINED = ("default", "d", "defined", "undefined")


def _needed(node: Any) -> Iterator[Path]:
    """Give the paths of an expression that are neither asked about (``or``, ``if``, ``is``, ``default``) nor parts of a list."""
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
    """Return the names that an expression asks about itself. Where it uses one elsewhere without looking, computing it fails."""
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
    """Return the way to a value where the node is only that."""
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


# The tokens that decide where an expression ends: quoted text, brackets, and the end itself.
_LANDMARK = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[(\[{]|\}\}|[)\]}]""", re.DOTALL)


def _end(template: str, start: int) -> int:
    """Return the position of the ``}}`` that ends the expression at `start`, or -1 if it does not end."""
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


@lru_cache(maxsize=256)
def parse(template: str) -> Sequence[Union[str, Expression]]:
    """Split a template into its literal text, untouched, and its compiled expressions."""
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
        # Compiled first: it takes one expression and nothing after it.
        evaluate: Callable[..., Any] = environment.compile_expression(source, undefined_to_none=False)
        tree = environment.parse("{{ " + source + " }}").body[0].nodes[0]  # type: ignore[attr-defined]
        used = {node.name for node in (tree, *tree.find_all(nodes.Name)) if isinstance(node, nodes.Name)}
    except (JinjaError, SyntaxError, ValueError, RecursionError) as error:
        reason, near = _reason(error)
        raise TemplateError(
            f"{reason} in {{{{ {short(source)} }}}} (line {line} of the prompt){near}{HOW_TO_SEND_BRACES}"
        ) from None
    if "self" in used:
        raise TemplateError(f"self cannot be used in {{{{ {short(source)} }}}} (line {line}); give it another name")
    if source in used:  # a single name is looked up directly, without making a context for it each time
        evaluate = itemgetter(source)
    return Expression(
        source, tuple(sorted(used)), evaluate, tuple(_needed(tree)), is_name=source in used, optional=_optional(tree)
    )


def filter_names() -> List[str]:
    """Return the names of the filters that an expression may use: those of this package first."""
    others = sorted(name for name in _environment().filters if name.isidentifier() and name not in FILTERS)
    return [*FILTERS, *others]


_NO_FILTER = re.compile(r"No (filter|test) named '(\w+)'")


def _reason(error: Exception) -> Tuple[str, str]:
    """Return why an expression cannot be compiled, and of filters and tests the nearest that there is."""
    message = short(getattr(error, "message", None) or error)
    match = _NO_FILTER.match(message)
    if match is None:
        return message, ""
    kind, name = match.groups()
    environment = _environment()
    known = environment.filters if kind == "filter" else environment.tests
    return f"there is no {kind} {name!r}", did_you_mean(name, [each for each in known if each.isidentifier()])


def short(value: Any, limit: int = 120) -> str:
    """Return a text as one line of an error message."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
