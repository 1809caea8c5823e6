"""Checks Python, the front end, and the required packages."""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec
from typing import Any, List

from claude_force_nb import __version__

from .finding import NOTE, PROBLEM, Finding

__all__ = ["look_at_software"]

_TESTED = ((3, 8), (3, 13))


def look_at_software(shell: Any) -> List[Finding]:
    """Check Python, the front end, the SDK and the widgets.

    Parameters
    ----------
    shell : InteractiveShell or None
        None outside IPython.
    """
    return [_python(), _front_end(shell), _sdk(), _widgets(shell)]


def _version(distribution: str) -> str:
    """Return the version of an installed distribution, or ""."""
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _python() -> Finding:
    says = f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()}), claude_force_nb {__version__}"
    if not _TESTED[0] <= sys.version_info[:2] <= _TESTED[1]:
        span = " to ".join(f"{major}.{minor}" for major, minor in _TESTED)
        return Finding("Python", says, NOTE, f"tested are {span}")
    return Finding("Python", says)


def _front_end(shell: Any) -> Finding:
    if shell is None:
        return Finding("Front end", "a terminal, outside IPython")
    ipython = _version("ipython")
    if getattr(shell, "kernel", None) is None:
        return Finding("Front end", f"IPython {ipython} in a terminal")
    names = shell.user_ns
    where = (
        "Google Colab" if "google.colab" in sys.modules else "VS Code" if "__vsc_ipynb_file__" in names else "a kernel"
    )
    return Finding("Front end", f"{where}, IPython {ipython}, ipykernel {_version('ipykernel') or 'unknown'}")


def _sdk() -> Finding:
    version = _version("anthropic")
    if not version or find_spec("anthropic") is None:
        return Finding("SDK", "anthropic is not installed", PROBLEM, 'pip install "anthropic[aiohttp]"')
    if find_spec("aiohttp") is None:
        return Finding("SDK", f"anthropic {version} without aiohttp", PROBLEM, 'pip install "anthropic[aiohttp]"')
    return Finding("SDK", f"anthropic {version}, aiohttp {_version('aiohttp')}")


def _widgets(shell: Any) -> Finding:
    version = _version("ipywidgets")
    if not version:
        return Finding("Widgets", "ipywidgets is not installed", PROBLEM, 'pip install "ipywidgets>=7.6"')
    if getattr(shell, "kernel", None) is None:
        return Finding("Widgets", f"ipywidgets {version}; a terminal shows no widgets")
    lab = _version("jupyterlab-widgets")
    if not lab:
        says = f"ipywidgets {version}, but no jupyterlab_widgets"
        return Finding("Widgets", says, NOTE, "needed where JupyterLab runs: pip install jupyterlab_widgets")
    return Finding("Widgets", f"ipywidgets {version}, jupyterlab_widgets {lab}")
