"""Checks the packages of an environment for known vulnerabilities, with pip-audit.

    python tools/audit_packages.py PIP_AUDIT SITE_PACKAGES

The exit status is 1 if a package has a known vulnerability. If the database cannot be reached, the script says so and exits
with 0, since that is not the fault of a change to this package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Dict, List

# diskcache unpickles data from its file, which no release fixes. This package reads it through a store that never unpickles;
# tests/cache/test_attacks.py tries the attack.
ACCEPTED = ("CVE-2025-69872",)
_SECONDS = 10


def audit(pip_audit: str, folder: str) -> int:
    """Print the result in one line, or a line for each vulnerability, and return the exit status."""
    command = [pip_audit, "--path", folder, "--format", "json", "--progress-spinner", "off", "--timeout", str(_SECONDS)]
    for accepted in ACCEPTED:
        command += ["--ignore-vuln", accepted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: List[Dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
        print(f"not audited: pip-audit could not ask for known vulnerabilities ({reason})")
        return 0
    looked_up = [each for each in packages if "vulns" in each]
    if not looked_up:
        print(f"not audited: the service that pip-audit asks knows none of the {len(packages)} packages")
        return 0
    found = [(each, fault) for each in looked_up for fault in each["vulns"]]
    for each, fault in found:
        mended = ", ".join(fault.get("fix_versions") or ()) or "no release"
        print(f"{each['name']} {each['version']}: {fault['id']}, mended in {mended}")
    others = len(packages) - len(looked_up)
    print(f"{len(looked_up)} packages were looked up, {others} are not known there, {len(found)} vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1], sys.argv[2]))
