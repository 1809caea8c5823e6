"""``{{ }}`` templates. Pure.

A template is the user's own words: they are sent as typed, and braces other than ``{{ expression }}`` mean nothing.
A value is data: it is cleaned, fenced unless it is short (`data.fences`), inserted once and never looked at again. What a value
becomes is said in `data.values`, what a filter does in `data.filters`, which phrases are worth a warning in `data.injection`.
"""

from __future__ import annotations

import builtins
import re
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

from claude_force_nb.errors import PromptError, TemplateError, UndefinedNameError
from claude_force_nb.vocabulary import did_you_mean

from .attachments import Attachment
from .fences import clean, fence, is_inline, label
from .filters import FILTERS, Fenced, Raw, RawAttachment
from .injection import Finding, scan
from .values import NamedText, file, insertable

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = [
    "BUILTIN_NAMES",
    "RenderedPrompt",
    "Suspicion",
    "names",
    "render",
]


def _function(builtin: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a type in a function: ``str.format``, reached through the type itself, would pass by the sandbox."""
    return lambda *arguments, **named: builtin(*arguments, **named)


# Functions that an expression may use although they are not names of the notebook. Of these only `file` reaches outside: it reads
# the file that the user's own words, or a value that they put there, name.
_SAFE_BUILTINS: Dict[str, Any] = {
    builtin.__name__: _function(builtin)
    for builtin in (
        *(abs, all, any, bool, dict, enumerate, float, int, len, list, max, min),
        *(repr, round, set, sorted, str, sum, tuple, zip),
        file,
    )
}
BUILTIN_NAMES = frozenset(_SAFE_BUILTINS)


# Names that every notebook has and no prompt is about.
_NOBODY_MEANS = {*dir(builtins), "In", "Out", "exit", "quit", "get_ipython"}


@dataclass(frozen=True)
class Suspicion:
    """A value that holds a phrase like an instruction; see `injection.Finding`."""

    name: str
    finding: Finding

    def __str__(self) -> str:
        phrase = f': "{self.finding.phrase}"' if self.finding.phrase else ""
        return f"{self.name} {self.finding.kind}{phrase}"


@dataclass(frozen=True)
class RenderedPrompt:
    """A template with its values inserted.

    Attributes
    ----------
    text : str
        What is sent, with a line in brackets for each image and document.
    fenced : bool
        True where at least one value stands in a fence, so that the system prompt needs `DATA_NOTICE`.
    removed : mapping of str to int
        Invisible characters taken out of values, by the name of the value.
    suspicions : tuple of Suspicion
        Phrases in values that look like instructions.
    content : str or list
        The message's content: `text`, or content blocks where an image or document was inserted.
    attachments : tuple of Attachment
    """

    text: str
    fenced: bool = False
    removed: Mapping[str, int] = field(default_factory=dict)
    suspicions: Tuple[Suspicion, ...] = ()
    content: Union[str, List[Dict[str, Any]]] = ""
    attachments: Tuple[Attachment, ...] = ()

    def __post_init__(self) -> None:
        if not self.attachments:
            object.__setattr__(self, "content", self.text)

    @property
    def removed_characters(self) -> int:
        """Invisible characters taken out of all values."""
        return sum(self.removed.values())


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined)
    # Jinja's own functions would hide names of the notebook.
    environment.globals.clear()
    environment.filters.update(FILTERS)
    return environment


@dataclass(frozen=True)
class _Expression:
    source: str
    names: Tuple[str, ...]
    evaluate: Callable[..., Any]

    def __str__(self) -> str:
        return "{{ " + _short(self.source) + " }}"


# What decides where an expression ends: text in quotes, brackets, and the end itself.
_LANDMARK = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[(\[{]|\}\}|[)\]}]""", re.DOTALL)


def _end(template: str, start: int) -> int:
    """Return where the ``}}`` stands that ends the expression from `start`, or -1 where there is none."""
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
def _parse(template: str) -> Sequence[Union[str, _Expression]]:
    """Split a template into its literal text, untouched, and its compiled expressions."""
    parts: List[Union[str, _Expression]] = []
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
            message = "{{{{ without }}}} (line {} of the prompt); write {{{{ '{{{{' }}}} for two literal braces"
            raise TemplateError(message.format(line))
        parts.append(_compile(template[start + 2 : end].strip(), line))
        position = end + 2


def _compile(source: str, line: int) -> _Expression:
    from jinja2 import TemplateError as JinjaError
    from jinja2 import nodes

    if not source:
        message = "{{{{ }}}} is empty (line {} of the prompt); put a name or an expression of the notebook inside"
        raise TemplateError(message.format(line))
    environment = _environment()
    try:
        # Compiled first: it takes one expression and nothing after it.
        evaluate: Callable[..., Any] = environment.compile_expression(source, undefined_to_none=False)
        used = {node.name for node in environment.parse("{{ " + source + " }}").find_all(nodes.Name)}
    except (JinjaError, SyntaxError, ValueError, RecursionError) as error:
        reason = _short(getattr(error, "message", None) or error)
        raise TemplateError(f"{reason} in {{{{ {_short(source)} }}}} (line {line} of the prompt)") from None
    if "self" in used:
        raise TemplateError(f"self cannot be used in {{{{ {_short(source)} }}}} (line {line}); give it another name")
    if source in used:  # a name alone: what it stands for, without a context made for it each time
        evaluate = itemgetter(source)
    return _Expression(source, tuple(sorted(used)), evaluate)


def names(template: str) -> Tuple[str, ...]:
    """Return the names that a template's expressions need, sorted.

    Raises
    ------
    TemplateError
        If an expression cannot be parsed.
    """
    if "{{" not in template:
        return ()
    return tuple(sorted({name for part in _parse(template) if isinstance(part, _Expression) for name in part.names}))


def _short(value: Any, limit: int = 120) -> str:
    """Return a text as one line of an error message."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def render(template: str, variables: Mapping[str, Any], *, look: bool = True) -> RenderedPrompt:
    """Insert the values of `variables` into ``{{ expression }}``.

    Expressions are Jinja2's, in its sandbox. A value is turned into text, or into a content block, cleaned, fenced unless it is a
    number, one line of up to `INLINE_LIMIT` characters or marked ``| raw``, and never rendered again.

    Parameters
    ----------
    template : str
    variables : mapping
    look : bool
        False leaves `RenderedPrompt.suspicions` empty.

    Raises
    ------
    UndefinedNameError
        If a name is not in `variables`.
    TemplateError
        If an expression cannot be parsed, or fails while it is computed.
    AttachmentError
        If an image or a file cannot be sent.
    """
    if "{{" not in template:
        return RenderedPrompt(template)
    made = _Prompt(look)
    for part in _parse(template):
        if isinstance(part, str):
            made.texts.append(part)
            continue
        value = _evaluate(part, variables)
        if isinstance(value, (Attachment, RawAttachment)):
            made.attach(part.source, value)
        else:
            made.insert(part.source, value)
    return made.rendered()


class _Number(str):
    """Marks the text of a number."""


class _Prompt:
    """What `render` has put together so far."""

    def __init__(self, look: bool) -> None:
        self.texts: List[str] = []
        self._look = look
        self._blocks: List[Dict[str, Any]] = []
        self._shown: List[str] = []
        self._attachments: List[Attachment] = []
        self._fenced = False
        self._removed: Dict[str, int] = {}
        self._suspicions: List[Suspicion] = []

    def insert(self, source: str, value: str) -> None:
        """Insert a text."""
        if type(value) is _Number:
            self.texts.append(value)
            return
        name = self._name(source, value)
        text = self._cleaned(name, value)
        if isinstance(value, Fenced) or not (isinstance(value, Raw) or is_inline(text)):
            text, self._fenced = fence(name, text), True
        self.texts.append(text)

    def attach(self, source: str, value: Union[Attachment, RawAttachment]) -> None:
        """Insert an image or a document: inside a fence of its own, since it may hold words as a text does."""
        attachment = value.attachment if isinstance(value, RawAttachment) else value
        if attachment is value:
            self._fenced = True
            self.texts.append(f'<data name="{label(self._name(source, attachment))}">\n')
        self._end_text()
        self._blocks.append(attachment.block())
        self._shown.append(str(attachment))
        self._attachments.append(attachment)
        if attachment is value:
            self.texts.append("\n</data>")

    def _name(self, source: str, value: Any) -> str:
        """Return what a value is called: its expression, or the name of a file that was read in place."""
        if isinstance(value, (NamedText, Attachment)) and source.startswith("file("):
            return self._cleaned("file name", value.name)[:100]
        return source

    def _cleaned(self, name: str, value: str) -> str:
        if self._look:
            self._suspicions.extend(Suspicion(_short(name, 60), finding) for finding in scan(value))
        text, removed = clean(value)
        if removed:
            self._removed[name] = self._removed.get(name, 0) + removed
        return text

    def _end_text(self) -> None:
        text = "".join(self.texts)
        self.texts = []
        self._shown.append(text)
        # The API refuses blocks of white space.
        if text.strip():
            self._blocks.append({"type": "text", "text": text})

    def rendered(self) -> RenderedPrompt:
        """Return the whole."""
        if not self._attachments:
            return RenderedPrompt("".join(self.texts), self._fenced, self._removed, tuple(self._suspicions))
        self._end_text()
        return RenderedPrompt(
            "".join(self._shown),
            self._fenced,
            self._removed,
            tuple(self._suspicions),
            self._blocks,
            tuple(self._attachments),
        )


def _evaluate(expression: _Expression, variables: Mapping[str, Any]) -> Union[str, Attachment, RawAttachment]:
    """Return the value as what is inserted."""
    known = {}
    for name in expression.names:
        if name in variables:
            known[name] = variables[name]
        elif name in _SAFE_BUILTINS:
            known[name] = _SAFE_BUILTINS[name]
        else:
            near = did_you_mean(
                name, (item for item in variables if not item.startswith("_") and item not in _NOBODY_MEANS)
            )
            raise UndefinedNameError(f"{name!r} in {expression} is not defined, nothing was sent{near}")
    try:
        value = expression.evaluate(known)
        kind = type(value)
        if kind is str or kind is RawAttachment:
            return value  # type: ignore[no-any-return]
        if isinstance(value, (int, float, complex)) and not isinstance(value, bool):
            return _Number(value)
        if _is_undefined(value):
            str(value)  # raises with the reason
        # Turned into text here, so that an object whose __str__ fails stops the prompt like any other failure.
        return insertable(value)
    except PromptError:
        raise
    except Exception as error:
        failure = _failure(expression, error)
        raise failure from (None if isinstance(failure, UndefinedNameError) else error)


def _is_undefined(value: Any) -> bool:
    from jinja2 import StrictUndefined

    return isinstance(value, StrictUndefined)


def _failure(expression: _Expression, error: Exception) -> PromptError:
    """Return what is raised where an expression could not be computed."""
    from jinja2 import UndefinedError
    from jinja2.exceptions import SecurityError

    if isinstance(error, UndefinedError):
        return UndefinedNameError(f"{_short(error.message)} in {expression}; nothing was sent")
    if isinstance(error, SecurityError):
        message = "{} may not do that: {}; compute it in a cell and insert the result"
        return TemplateError(message.format(expression, _short(error)))
    reason = f"{type(error).__name__}: {_short(error)}"
    return TemplateError(f"{expression} failed: {reason}; nothing was sent")
