"""The traitlets class of the settings, in a module of its own because ``%load_ext`` needs nothing else of them."""

from __future__ import annotations

from .table import SETTINGS

__all__ = ["make_configurable"]


def make_configurable() -> type:
    """Return the traitlets class behind ``c.ClaudeForce.…`` and ``%config ClaudeForce``, one trait for each setting."""
    from traitlets import Any as AnyTrait
    from traitlets.config import Configurable

    traits = {
        name: AnyTrait(None, allow_none=True, help=f"{option.meaning} [{option.takes}]").tag(config=True)
        for name, option in SETTINGS.items()
    }
    return type("ClaudeForce", (Configurable,), {"__doc__": "Settings of claude_force_nb.", **traits})
