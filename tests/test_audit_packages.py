"""What is made of pip-audit's answers: a vulnerability fails, and a service that cannot be asked is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "audit_packages.py"
GOOD: Dict[str, Any] = {"name": "jinja2", "version": "3.1.6", "vulns": []}
BAD: Dict[str, Any] = {
    "name": "jinja2",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}],
}
UNKNOWN = {"name": "own", "skip_reason": "Dependency not found on PyPI and could not be audited: own (1.0)"}


@pytest.mark.skipif(sys.platform == "win32", reason="a script that is run by its first line")
@pytest.mark.parametrize(
    ("answer", "status", "line"),
    [
        (
            json.dumps({"dependencies": [GOOD, UNKNOWN]}),
            0,
            "1 packages were looked up, 1 are not known there, 0 vulnerabilities",
        ),
        (json.dumps({"dependencies": [GOOD, BAD]}), 1, "jinja2 2.0: PYSEC-2019-217, mended in 2.10.1"),
        (
            json.dumps({"dependencies": [UNKNOWN]}),
            0,
            "not audited: the service that pip-audit asks knows none of the 1 packages",
        ),
        ("", 0, "not audited: pip-audit could not ask for known vulnerabilities (no way to the registry)"),
        ("[]", 0, "not audited: pip-audit could not ask for known vulnerabilities (no way to the registry)"),
    ],
)
def test_what_the_audit_says(tmp_path: Path, answer: str, status: int, line: str) -> None:
    """Each answer of pip-audit gives its exit status, and one line that says what was looked up."""
    script = tmp_path / "pip-audit"
    # Complains and exits with 1, as pip-audit does of vulnerabilities and of a service that it cannot reach alike.
    script.write_text(
        f"#!{sys.executable}\nimport sys\nprint({answer!r})\nsys.exit('a traceback\\nno way to the registry')\n"
    )
    script.chmod(0o755)
    command = [sys.executable, str(TOOL), str(script), str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, line in done.stdout.splitlines()) == (status, True), done.stdout
