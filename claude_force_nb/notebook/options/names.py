"""Names of the notebook on a magic's line."""

from __future__ import annotations

import builtins
from typing import Any, Mapping, Optional

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.kernel.asking import agreed
from claude_force_nb.schemas.answer import AnswerSchema, schema_of
from claude_force_nb.vocabulary import did_you_mean, names_of_the_user

__all__ = ["check_target", "find_schema"]


def check_target(name: Optional[str], names: Mapping[str, Any]) -> None:
    """Ask the user before ``into=`` hides a builtin such as ``print`` from all later cells.

    A name that the notebook has already redefined is accepted without asking.

    Raises
    ------
    OptionError
        If the answer is no, or nobody can be asked.
    """
    if name is None or not hasattr(builtins, name) or name in names:
        return
    fault = f"into={name} would hide Python's own {name} in every later cell"
    if not agreed(f"{fault}; go on?"):
        raise OptionError(f"{fault}: choose another name; nothing was sent")


def find_schema(text: str, names: Mapping[str, Any]) -> AnswerSchema:
    """Return the schema that an expression such as ``Review`` or ``List[Review]`` denotes.

    Raises
    ------
    OptionError
        If a name is not defined (the message suggests the nearest one), or the value is not a schema.
    """
    try:
        # This is the user's own code, evaluated as in a cell, with the same names.
        value = eval(compile(text.strip(), "schema", "eval"), {"__builtins__": builtins}, _Names(names))
    except NameError as error:
        name = getattr(error, "name", None) or str(error).split("'")[1]
        near = did_you_mean(name, names_of_the_user(names))
        raise OptionError(f"schema={text}: there is no {name!r}{near}") from None
    except Exception as error:
        raise OptionError(f"schema={text}: {type(error).__name__}: {error}") from None
    try:
        return schema_of(value)
    except OptionError as error:
        line = str(error)
        raise OptionError(line if line.startswith("schema=") else f"schema={text}: {line}") from None


class _Names(dict):  # type: ignore[type-arg]
    """The notebook's names as the locals of an expression."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, name: str) -> Any:
        return self._names[name]
