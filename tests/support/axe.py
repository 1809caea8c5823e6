"""axe-core, the accessibility checks of Deque, from npm."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest

VERSION = "4.14.1"
_RUN = """
async selector => {
  const found = await axe.run({include: [selector]}, {
    resultTypes: ['violations'],
    // Which heading stands above ours is up to the notebook, and which an answer has to the model.
    rules: {'heading-order': {enabled: false}}
  });
  return found.violations.flatMap(each => each.nodes.map(node => ({
    rule: each.id, html: node.html.slice(0, 300), why: node.failureSummary.slice(0, 400)
  })));
}
"""


def fetch_axe(folder: Path) -> str:
    """Return the source of axe-core; skips the test without npm or a registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which brings axe-core, is not installed")
    command = [npm, "pack", "--silent", f"axe-core@{VERSION}"]
    packed = subprocess.run(command, cwd=str(folder), capture_output=True, text=True, timeout=120)
    if packed.returncode:
        pytest.skip(f"npm did not bring axe-core: {packed.stderr.strip()[-200:]}")
    with tarfile.open(str(folder / f"axe-core-{VERSION}.tgz")) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode("utf-8")


def violations(page: Any, axe: str, selector: str) -> List[Dict[str, str]]:
    """Return what axe-core finds wrong in the parts of a page."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(axe + "; window.axe = axe; undefined")
    found: List[Dict[str, str]] = page.evaluate(_RUN, selector)
    return found
