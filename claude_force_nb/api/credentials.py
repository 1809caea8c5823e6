"""Where a key comes from: given, in the environment, or found by the SDK. Pure but for looking whether a profile's file is there.

The order is that of the SDK ("Authentication"): an API key goes before a token, and both before a profile, workload identity and the
profile that ``ant auth login`` left on disk. For the last three the SDK makes tokens itself and renews them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from claude_force_nb.errors import MissingApiKeyError

__all__ = ["Credentials", "find_credentials"]

# Without these the SDK does not exchange an identity for a token; either of the last two does.
_FEDERATION = ("ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID")
_IDENTITY = ("ANTHROPIC_IDENTITY_TOKEN_FILE", "ANTHROPIC_IDENTITY_TOKEN")
_LOOKED_FOR = (
    "api_key=, ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN, ANTHROPIC_PROFILE, workload identity "
    "(ANTHROPIC_FEDERATION_RULE_ID with ANTHROPIC_ORGANIZATION_ID and ANTHROPIC_IDENTITY_TOKEN or its _FILE), {}"
)


@dataclass(frozen=True)
class Credentials:
    """What a client authenticates itself with.

    Attributes
    ----------
    arguments : dict of str to str
        Of the SDK's client: ``api_key`` or ``auth_token``; empty where the SDK makes tokens itself.
    source : str
        Where they were found, in words. Names no secret.
    """

    arguments: Dict[str, str] = field(default_factory=dict, repr=False)
    source: str = ""

    @property
    def secret(self) -> str:
        """The key or token; "" where the SDK makes tokens itself."""
        return "".join(self.arguments.values())

    @property
    def made_by_sdk(self) -> bool:
        """Whether tokens change while the client lives."""
        return not self.arguments

    def unusable(self, error: BaseException) -> MissingApiKeyError:
        """Return the error for credentials of which the SDK says that it cannot use them."""
        reason = " ".join(str(error).split())[:300]
        return MissingApiKeyError(f"no API key: {self.source} cannot be used ({reason}); nothing was sent")

    def check_sdk(self, anthropic: Any) -> None:
        """Raise MissingApiKeyError where the SDK that is installed cannot make the tokens."""
        if not self.made_by_sdk:
            return
        try:
            import_module("anthropic.lib.credentials")
        except ImportError:
            raise MissingApiKeyError(
                f"no API key: {self.source} is there, but anthropic {anthropic.__version__} cannot use it; "
                "install a newer one, or set ANTHROPIC_API_KEY; nothing was sent"
            ) from None


def find_credentials(api_key: Optional[str], environ: Mapping[str, str], *, official: bool) -> Credentials:
    """Return the first credentials that there are.

    Parameters
    ----------
    api_key : str, optional
        As given by the user.
    environ : mapping
        Environment variables; an empty one counts as not set.
    official : bool
        True where calls go to the official API.

    Raises
    ------
    MissingApiKeyError
        If there are none, or the key has characters that no key has; says what was looked for.
    """
    key = (api_key or environ.get("ANTHROPIC_API_KEY") or "").strip()
    token = "" if key else (environ.get("ANTHROPIC_AUTH_TOKEN") or "").strip()
    if key or token:
        if not (key or token).isascii() or not (key or token).isprintable():
            raise MissingApiKeyError("the API key has characters that no key has; copy it again; nothing was sent")
        return Credentials({"api_key": key}, "a key") if key else Credentials({"auth_token": token}, "a token")
    source = _source_for_sdk(environ)
    if source is not None:
        return Credentials({}, source)
    hint = " or log in with `ant auth login`" if official else " (any text will do where the server asks for none)"
    looked_for = _LOOKED_FOR.format(f"the profile in {_shown(_profile_folder(environ))}")
    raise MissingApiKeyError(f"no API key: set ANTHROPIC_API_KEY{hint}; looked for {looked_for}; nothing was sent")


def _source_for_sdk(environ: Mapping[str, str]) -> Optional[str]:
    """Return what the SDK would make tokens from, in words; None where there is nothing."""
    if environ.get("ANTHROPIC_PROFILE"):
        return "ANTHROPIC_PROFILE"
    if all(environ.get(name) for name in _FEDERATION) and any(environ.get(name) for name in _IDENTITY):
        return "workload identity"
    folder = _profile_folder(environ)
    if folder is None:
        return None
    try:
        name = (folder / "active_config").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    try:
        there = (folder / "configs" / f"{name or 'default'}.json").is_file()
    except (OSError, ValueError):
        there = False
    return f"the profile {name or 'default'} of `ant auth login`" if there else None


def _profile_folder(environ: Mapping[str, str]) -> Optional[Path]:
    """Return the folder of profiles, as the SDK has it; None where there is no home."""
    if environ.get("ANTHROPIC_CONFIG_DIR"):
        return Path(environ["ANTHROPIC_CONFIG_DIR"])
    if sys.platform == "win32" and environ.get("APPDATA"):
        return Path(environ["APPDATA"]) / "Anthropic"
    home = environ.get("HOME") or os.path.expanduser("~")
    return None if home.startswith("~") else Path(home) / ".config" / "anthropic"


def _shown(folder: Optional[Path]) -> str:
    """Return the folder without the name of whose home it is: the line may be saved in a notebook."""
    if folder is None:
        return "~/.config/anthropic"
    home = os.path.expanduser("~")
    text = str(folder)
    return "~" + text[len(home) :] if len(home) > 1 and text.startswith(home + os.sep) else text
