"""The models that the simulator knows. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

__all__ = ["Model", "ModelTable", "family"]

_LINES = ("haiku", "sonnet", "opus", "fable", "mythos")
_DATED = re.compile(r"-\d{8}$")


def family(model: str) -> str:
    """Return the name under which rate limits of `model` pool: its line, or its own name for a model without one."""
    for line in _LINES:
        if line in model:
            return line
    return model


@dataclass(frozen=True)
class Model:
    """A model: ``name`` as it answers, limits in tokens, and its release date (ISO)."""

    name: str
    context_window: int = 200_000
    max_output_tokens: int = 64_000
    released: str = "2025-01-01"

    @property
    def display_name(self) -> str:
        """Name for people, such as ``Claude Opus 4.5 (simulated)``."""
        words = _DATED.sub("", self.name).split("-")
        version = ".".join(word for word in words if word.isdigit())
        names = [word.capitalize() for word in words if not word.isdigit()]
        return " ".join([*names, version, "(simulated)"]).replace("  ", " ")

    def to_api(self) -> Dict[str, object]:
        """Return the object that ``/v1/models`` shows."""
        line = family(self.name)
        return {
            "type": "model",
            "id": self.name,
            "display_name": self.display_name,
            "capabilities": None,
            "created_at": self.released + "T00:00:00Z",
            "lifecycle": "active",
            "line": line if line in _LINES else None,
            "max_input_tokens": self.context_window,
            "max_tokens": self.max_output_tokens,
        }


_KNOWN = (
    Model("claude-fable-5-2", 1_000_000, 128_000, "2026-09-15"),
    Model("claude-mythos-5-2", 1_000_000, 128_000, "2026-09-15"),
    Model("claude-haiku-5-5", 1_000_000, 64_000, "2026-08-18"),
    Model("claude-sonnet-5-5", 1_000_000, 128_000, "2026-08-04"),
    Model("claude-opus-5-5", 1_000_000, 128_000, "2026-07-21"),
    Model("claude-opus-4-5-20251101", 200_000, 64_000, "2025-11-01"),
    Model("claude-haiku-4-5-20251001", 200_000, 64_000, "2025-10-01"),
    Model("claude-sonnet-4-5-20250929", 200_000, 64_000, "2025-09-29"),
)


class ModelTable:
    """Look models up by name, alias or dated name.

    Parameters
    ----------
    priced : mapping of str to int or None
        Further names to know, those of the price table, and their context windows in tokens.
    accept_any : bool
        Know every name.
    """

    def __init__(self, priced: Mapping[str, Optional[int]], *, accept_any: bool = False) -> None:
        self._accept_any = accept_any
        self._models: Dict[str, Model] = {model.name: model for model in _KNOWN}
        # The API answers an undated name with the dated name it stands for.
        self._aliases = {_DATED.sub("", model.name): model for model in _KNOWN}
        for name, window in priced.items():
            if name.startswith("claude-") and name not in self._aliases:
                self._models.setdefault(name, Model(name, window or 200_000, 128_000))

    @property
    def models(self) -> Tuple[Model, ...]:
        """All models, newest first."""
        return tuple(sorted(self._models.values(), key=lambda model: (model.released, model.name), reverse=True))

    def get(self, name: str) -> Optional[Model]:
        """Return the model that answers to `name`; None for an unknown one."""
        model = self._models.get(name) or self._aliases.get(name)
        if model is None:
            base = self._undated(_DATED.sub("", name))
            if base is not None or self._accept_any:
                base = base or Model(name)
                model = Model(name, base.context_window, base.max_output_tokens, base.released)
        return model

    def _undated(self, name: str) -> Optional[Model]:
        for suffix in ("", "-latest", "-0"):
            model = self._models.get(name + suffix)
            if model is not None:
                return model
        return None
