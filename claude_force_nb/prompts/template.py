"""``{{ }}`` templates. Pure.

A template is the user's own text: it is sent as typed, and braces other than ``{{ expression }}`` have no meaning. A
value is data: it is cleaned, fenced unless it is short (`fences`), inserted once and never interpreted. `expressions`
finds and compiles expressions, `values` converts values, `filters` has the filters, and `injection` finds the phrases
that cause a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from claude_force_nb.errors import MissingValueError, PromptError, TemplateError, UndefinedNameError
from claude_force_nb.messages.text import well_formed
from claude_force_nb.vocabulary import did_you_mean, names_of_the_user

from .attachments import Attachment
from .expressions import BUILTIN_NAMES, HOW_TO_SEND_BRACES, SAFE_BUILTINS, Expression, parse, short
from .fences import clean, fence, is_inline, label
from .filters import Fenced, Raw, RawAttachment
from .injection import Finding, scan
from .plain import find_name, is_missing
from .values import NamedText, insertable

__all__ = [
    "BUILTIN_NAMES",
    "RenderedPrompt",
    "Suspicion",
    "check_given",
    "constants_behind",
    "names",
    "render",
]


@dataclass(frozen=True)
class Suspicion:
    """A value that contains a phrase like an instruction; see `injection.Finding`."""

    name: str
    finding: Finding

    def __str__(self) -> str:
        phrase = f': "{self.finding.phrase}"' if self.finding.phrase else ""
        return f"{self.name} {self.finding.kind}{phrase}"


class RenderedPrompt(NamedTuple):
    """A template with its values inserted.

    Attributes
    ----------
    text : str
        The text to send, with a line in brackets for each image and document.
    fenced : bool
        Whether at least one value is fenced, so that the system prompt needs `DATA_NOTICE`.
    removed : mapping of str to int
        Number of invisible characters removed from values, by the name of the value.
    suspicions : tuple of Suspicion
        Phrases in values that look like instructions.
    blocks : list of dict, optional
        The content blocks, if an image or document was inserted.
    attachments : tuple of Attachment
    shared_blocks, shared_characters : int
        Number of whole blocks before the first value that differs from row to row, and number of characters of the text
        after them; 0 if no names vary.
    """

    text: str
    fenced: bool = False
    removed: Mapping[str, int] = {}  # never changed
    suspicions: Tuple[Suspicion, ...] = ()
    blocks: Optional[List[Dict[str, Any]]] = None
    attachments: Tuple[Attachment, ...] = ()
    shared_characters: int = 0
    shared_blocks: int = 0

    @property
    def content(self) -> Union[str, List[Dict[str, Any]]]:
        """The message's content: `text`, or `blocks`."""
        return self.text if self.blocks is None else self.blocks


def names(template: str, *, optional: bool = True) -> Tuple[str, ...]:
    """Return the names that a template's expressions use, sorted.

    Parameters
    ----------
    template : str
    optional : bool
        Whether to include names that may be undefined, as in ``{{ name | default("none") }}``.

    Raises
    ------
    TemplateError
        If an expression cannot be parsed.
    """
    if "{{" not in template:
        return ()
    expressions = [part for part in parse(template) if isinstance(part, Expression)]
    return tuple(sorted({name for each in expressions for name in each.names if optional or name not in each.optional}))


def constants_behind(template: str, varying: Collection[str]) -> Tuple[str, ...]:
    """Return the expressions that are equal in all rows but come after the first one that varies, which has a name in `varying`.

    A name that may be undefined counts as varying, since other rows may define it.
    """
    expressions = [part for part in parse(template) if isinstance(part, Expression)] if "{{" in template else []
    differs = [any(name in varying or name in part.optional for name in part.names) for part in expressions]
    if True not in differs:
        return ()
    first = differs.index(True)
    return tuple(part.source for part, own in zip(expressions[first:], differs[first:]) if part.names and not own)


def render(
    template: str,
    variables: Mapping[str, Any],
    *,
    look: bool = True,
    missing: str = "keep",
    varying: Collection[str] = (),
) -> RenderedPrompt:
    """Insert the values of `variables` into ``{{ expression }}``.

    Expressions are those of Jinja2, evaluated in its sandbox. A value is converted to text or to a content block,
    cleaned, and never rendered again. It is fenced unless it is a number, one line of up to `INLINE_LIMIT` characters,
    or marked ``| raw``.

    Parameters
    ----------
    template : str
    variables : mapping
    look : bool
        Whether to search for suspicious phrases.
    missing : str
        What to do with a missing value (None, NaN, NaT, NA): ``skip`` raises, ``empty`` inserts nothing, ``keep``
        inserts its ``str()``. Except with ``keep``, missing values are None in expressions, so that
        ``{{ text or "nothing" }}`` works.
    varying : collection of str
        Names whose values differ from row to row, for `RenderedPrompt.shared_characters`.

    Raises
    ------
    MissingValueError
        If a value is missing, with ``skip``.
    UndefinedNameError
        If a name is not in `variables`, unless the expression handles that with ``default`` or ``is defined``.
    TemplateError
        If an expression cannot be parsed or evaluated.
    AttachmentError
        If an image or a file cannot be sent.
    """
    if "{{" not in template:
        return RenderedPrompt(template)
    made = _Prompt(look)
    for part in parse(template):
        if isinstance(part, str):
            made.texts.append(part)
            continue
        if varying and made.shared_characters is None:
            for name in part.names:
                if name in varying or (name in part.optional and name not in variables):
                    made.row_begins()
                    break
        value = _evaluate(part, variables, missing)
        if isinstance(value, (Attachment, RawAttachment)):
            made.attach(part.source, value)
        else:
            made.insert(part.source, value)
    return made.rendered()


class _Number(str):
    """Marks the text of a number."""


class _Prompt:
    """The parts that `render` has assembled so far."""

    def __init__(self, look: bool) -> None:
        self.texts: List[str] = []
        self._look = look
        self._blocks: List[Dict[str, Any]] = []
        self._shown: List[str] = []
        self._attachments: List[Attachment] = []
        self._fenced = False
        self._removed: Dict[str, int] = {}
        self._suspicions: List[Suspicion] = []
        self.shared_characters: Optional[int] = None
        self._shared_blocks = 0

    def row_begins(self) -> None:
        """Note that all rows share the parts so far, but not those that follow."""
        self.shared_characters = sum(map(len, self.texts))
        self._shared_blocks = len(self._blocks)

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
        """Insert an image or a document in its own fence, since it may contain instructions just like text."""
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
        """Return a value's name: its expression, or the file name if it was read from a file."""
        if isinstance(value, (NamedText, Attachment)) and source.startswith("file("):
            return self._cleaned("file name", value.name)[:100]
        return source

    def _cleaned(self, name: str, value: str) -> str:
        value = well_formed(value)
        if self._look:
            found = scan(value)
            if found:
                self._suspicions.extend(Suspicion(short(name, 60), finding) for finding in found)
        text, removed = clean(value)
        if removed:
            self._removed[name] = self._removed.get(name, 0) + removed
        return text

    def _end_text(self) -> None:
        text = "".join(self.texts)
        self.texts = []
        self._shown.append(text)
        # The API refuses blocks of nothing but white space.
        if text.strip():
            self._blocks.append({"type": "text", "text": text})

    def rendered(self) -> RenderedPrompt:
        """Return the assembled prompt."""
        if not self._attachments:
            text, suspicions = "".join(self.texts), tuple(self._suspicions)
            return RenderedPrompt(text, self._fenced, self._removed, suspicions, None, (), self.shared_characters or 0)
        self._end_text()
        return RenderedPrompt(
            "".join(self._shown),
            self._fenced,
            self._removed,
            tuple(self._suspicions),
            self._blocks,
            tuple(self._attachments),
            self.shared_characters or 0,
            self._shared_blocks,
        )


def check_given(value: Any, name: str, missing: Optional[str]) -> None:
    """Raise MissingValueError if a row's value, which would be its prompt, is missing and `missing` is ``skip``."""
    if missing == "skip" and is_missing(value):
        raise _missing_value(name)


def _evaluate(
    expression: Expression, variables: Mapping[str, Any], missing: str
) -> Union[str, Attachment, RawAttachment]:
    """Return the value of an expression in the form to insert."""
    if expression.is_name and expression.source in variables:
        # The fast path for nearly all values: the text or number of a column needs no evaluation and is not missing.
        value = variables[expression.source]
        if type(value) is str:
            return value
        if type(value) is int and value.bit_length() <= 64:  # Python may refuse to write a longer one
            return _Number(value)
    known = _known_names(expression, variables)
    try:
        if missing != "keep":
            known = {name: None if is_missing(value) else value for name, value in known.items()}
            absent = expression.first_missing(known)
            if absent is not None:
                return _absent(absent, missing)
        value = expression.evaluate(known)
        kind = type(value)
        if kind is str or kind is RawAttachment:
            return value  # type: ignore[no-any-return]
        if missing != "keep" and is_missing(value):
            return _absent(expression.source, missing)
        if isinstance(value, (int, float, complex)) and not isinstance(value, (bool, Enum)):
            return _Number(value)
        if _is_undefined(value):
            raise _undefined(expression, value)
        # Convert to text inside this try, so that a failing __str__ is reported like any other failure.
        return insertable(value)
    except PromptError:
        raise
    except Exception as error:
        failure = _failure(expression, error)
        raise failure from (None if isinstance(failure, UndefinedNameError) else error)


def _known_names(expression: Expression, variables: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the values of an expression's names."""
    known = {}
    for name in expression.names:
        found = find_name(variables, name)
        if found is not None:
            known[name] = variables[found]
        elif name in SAFE_BUILTINS:
            known[name] = SAFE_BUILTINS[name]
        elif name not in expression.optional:
            near = did_you_mean(name, [*names_of_the_user(variables), "file"])
            raise UndefinedNameError(
                f"{name!r} in {expression} is not defined; nothing was sent{near}{HOW_TO_SEND_BRACES}"
            )
    return known


def _missing_value(name: str) -> MissingValueError:
    return MissingValueError(
        f"{name} has no value, so the row is skipped; missing=empty inserts nothing there, missing=keep inserts the value as it is"
    )


def _absent(name: str, missing: str) -> str:
    if missing == "empty":
        return ""
    raise _missing_value(short(name, 60))


def _is_undefined(value: Any) -> bool:
    from jinja2 import StrictUndefined

    return isinstance(value, StrictUndefined)


def _undefined(expression: Expression, value: Any) -> PromptError:
    """Return the error for a missing attribute or key: Jinja's reason, and the nearest existing name."""
    from jinja2 import UndefinedError

    try:
        str(value)
        reason = "it is undefined"
    except UndefinedError as error:
        reason = short(error.message)
    near = ""
    name, holder = value._undefined_name, value._undefined_obj
    if isinstance(name, str):
        try:
            parts = [*holder] if isinstance(holder, Mapping) else [*getattr(holder, "columns", ()), *dir(holder)]
            near = did_you_mean(name, [each for each in parts if isinstance(each, str) and not each.startswith("_")])
        except Exception:  # objects of the notebook may raise anything
            near = ""
    return UndefinedNameError(f"{reason} in {expression}; nothing was sent{near}{HOW_TO_SEND_BRACES}")


def _failure(expression: Expression, error: Exception) -> PromptError:
    """Return the error for an expression that could not be evaluated."""
    from jinja2 import UndefinedError
    from jinja2.exceptions import SecurityError

    if isinstance(error, UndefinedError):
        return UndefinedNameError(f"{short(error.message)} in {expression}; nothing was sent")
    if isinstance(error, SecurityError):
        return TemplateError(f"{expression} is not allowed: {short(error)}; compute it in a cell and insert the result")
    reason = f"{type(error).__name__}: {short(error)}"
    return TemplateError(f"{expression} failed: {reason}; nothing was sent")
