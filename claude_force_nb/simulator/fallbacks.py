"""Rules for a request's ``fallbacks``: models that answer in place of one that refuses. Pure."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Mapping, Sequence

from .catalogue import Model
from .failures import ApiFailure, invalid
from .model_rules import check_model_rules
from .models import ModelTable
from .shapes import integer, list_of, literal, mapping, nullable, record, text

__all__ = ["as_sent_to", "check_fallbacks", "entries_of"]

_BETAS = frozenset(["server-side-fallback-2026-07-01", "server-side-fallback-2026-06-01"])
_DEFAULT_BETA = "server-side-fallback-2026-07-01"
_MAX_ENTRIES = 3
_LINE_WITHOUT = "haiku"
# The API does not document which model "default" means; here it is one without classifiers.
_DEFAULT_MODEL = "claude-opus-4-8"
_OVERRIDES = ("max_tokens", "thinking", "output_config", "speed")
_ENTRIES = list_of(
    record(
        {
            "model": text(1),
            "max_tokens": nullable(integer(1)),
            "thinking": nullable(mapping),
            "output_config": nullable(mapping),
            "speed": nullable(literal("standard", "fast")),
        },
        ["model"],
    ),
    1,
    _MAX_ENTRIES,
)


def check_fallbacks(body: Mapping[str, Any], model: Model, models: ModelTable, betas: FrozenSet[str]) -> None:
    """Raise ApiFailure if a request's ``fallbacks`` are invalid, or one of them cannot answer the request."""
    if any(beta.startswith("server-side-fallback-") for beta in betas - _BETAS) or not betas & _BETAS:
        raise invalid("fallbacks: Extra inputs are not permitted")
    fallbacks = body["fallbacks"]
    if fallbacks == "default":
        if _DEFAULT_BETA not in betas:
            raise invalid("fallbacks: Input should be a valid list")
        return
    _ENTRIES(fallbacks, "fallbacks")
    if _LINE_WITHOUT in model.name:
        raise invalid(f"fallbacks: {model.name} does not support fallback models.")
    names: List[str] = [model.name]
    for place, entry in enumerate(fallbacks):
        other = models.get(entry["model"])
        if other is None:
            raise invalid(f"fallbacks.{place}.model: '{entry['model']}' is not an allowed fallback model")
        if other.name in names:
            raise invalid("fallbacks: entries must be distinct from each other and from the requested model")
        names.append(other.name)
        try:
            check_model_rules(as_sent_to(body, entry, other), other, betas=betas, counting=False, batch=False)
        except ApiFailure as failure:
            raise invalid(f"fallbacks.{place}: {failure.message}") from None


def entries_of(body: Mapping[str, Any], model: Model) -> Sequence[Mapping[str, Any]]:
    """Return the fallback entries of a valid request to `model`, in order."""
    fallbacks = body.get("fallbacks")
    if fallbacks != "default":
        return fallbacks or ()
    return () if _LINE_WITHOUT in model.name or model.name == _DEFAULT_MODEL else ({"model": _DEFAULT_MODEL},)


def as_sent_to(body: Mapping[str, Any], entry: Mapping[str, Any], model: Model) -> Dict[str, Any]:
    """Return the request as sent to a fallback model: the entry's values take precedence.

    A thinking type that the other model does not accept is dropped, unless the entry itself asks for it.
    """
    changed: Dict[str, Any] = {name: value for name, value in body.items() if name != "fallbacks"}
    changed.update({name: entry[name] for name in _OVERRIDES if entry.get(name) is not None}, model=model.name)
    asked = changed.get("thinking")
    if "thinking" in entry and entry["thinking"] is None:
        changed.pop("thinking", None)
    elif entry.get("thinking") is None and isinstance(asked, dict) and asked.get("type") not in model.thinking_types:
        off = asked.get("type") == "between_tools" and "disabled" in model.thinking_types
        changed.pop("thinking")
        if off:
            changed["thinking"] = {"type": "disabled"}
    return changed
