"""Looks up models by name. Pure."""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from .catalogue import EFFORTS, KNOWN, RETIRED, Model

__all__ = ["Model", "ModelTable", "family", "model_info"]

_LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
_DATED = re.compile(r"-\d{8}$")


def family(model: str) -> str:
    """Return the family whose rate limits `model` shares: its line, or its own name if it has none."""
    for line in _LINES:
        if line in model:
            return line
    return model


def _display_name(name: str) -> str:
    words = _DATED.sub("", name).split("-")
    version = ".".join(word for word in words if word.isdigit())
    return " ".join([*(word.capitalize() for word in words if not word.isdigit()), version, "(simulated)"]).replace(
        "  ", " "
    )


def _capabilities(model: Model) -> Dict[str, object]:
    def supported(value: object) -> Dict[str, object]:
        return {"supported": bool(value)}

    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    return {
        "batch": supported(True),
        "citations": supported(True),
        "code_execution": supported(True),
        "context_management": supported(False),
        "effort": {**supported(model.efforts), **{level: supported(level in model.efforts) for level in EFFORTS}},
        "image_input": supported(True),
        "pdf_input": supported(True),
        "server_tools": {**supported(True), "code_execution": supported(True), "web_search": supported(True)},
        "structured_outputs": supported(model.structured_outputs),
        "thinking": {
            **supported(model.thinking_types - {"disabled"}),
            "types": {kind: supported(kind in model.thinking_types) for kind in kinds},
        },
    }


def model_info(model: Model) -> Dict[str, object]:
    """Return the object that ``/v1/models`` returns for a model."""
    line = family(model.name)
    left = model.lifecycle != "active"
    return {
        "type": "model",
        "id": model.name,
        "display_name": _display_name(model.name),
        "capabilities": _capabilities(model),
        "created_at": model.released + "T00:00:00Z",
        "lifecycle": model.lifecycle,
        "deprecated_at": None,
        "retires_at": f"{model.retires}T00:00:00Z" if left and model.retires else None,
        "line": line if line in _LINES else None,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
    }


class ModelTable:
    """The models that are served.

    Parameters
    ----------
    extra : sequence of str
        Further names to serve: retired models, with the rules of their time, or other names, which accept everything.
    accept_any : bool
        True to serve every name.
    """

    def __init__(self, extra: Sequence[str] = (), *, accept_any: bool = False) -> None:
        self._accept_any = accept_any
        self._served: Dict[str, Model] = {}
        self._retired: Dict[str, Model] = {}
        for model in KNOWN:
            self._served[model.name] = model
            # Requests may use the undated name; answers have the dated one.
            self._served[_DATED.sub("", model.name)] = model
        for model, aliases in RETIRED:
            self._retired.update(dict.fromkeys((model.name, *aliases), model))
        for name in extra:
            self._served.setdefault(name, self._retired.get(name) or Model(name))

    def listed(self, lifecycles: Iterable[str] = ("active", "deprecated")) -> List[Model]:
        """Return the models in these lifecycle stages, newest first."""
        everything = {model.name: model for model in (*self._retired.values(), *self._served.values())}
        wanted = set(lifecycles)
        found = [model for model in everything.values() if model.lifecycle in wanted]
        return sorted(found, key=lambda model: (model.released, model.name), reverse=True)

    def find(self, name: str) -> Optional[Model]:
        """Return the model called `name`, even a retired one."""
        return self._served.get(name) or self._retired.get(name)

    def get(self, name: str) -> Optional[Model]:
        """Return the model that is served under `name`; None if it is retired, misspelt or unknown."""
        model = self._served.get(name)
        if model is None and self._accept_any:
            model = self._retired.get(name) or Model(name)
        return model

    @property
    def names(self) -> Tuple[str, ...]:
        """All names that are served."""
        return tuple(self._served)
