"""``make release-check``: check what a release needs, and print a checklist.

::

    python tools/release_check.py [--output FOLDER]

Wheel and sdist are built twice, from two copies of the files in git, in different folders. Nothing is uploaded and no tag is
created: the last lines of the checklist say what is left to do by hand. The exit status is 1 if a check fails. Needs hatchling
and twine (the extra ``dev``) and git.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "claude_force_nb"
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")  # https://keepachangelog.com/en/1.1.0/
# Files other than modules without which a wheel is useless.
NEEDED = (
    "py.typed",
    "quickstart.ipynb",
    "costs/prices.json",
    *(f"agents/builtin/{name}.md" for name in ("explainer", "fixer", "labeller", "reviewer", "summariser", "tester")),
)
PROJECT_URLS = ("Documentation", "Source", "Issues", "Changelog")
EXTRAS = ("lab", "demo", "dask", "redis", "sign", "replay")
CLASSIFIERS = (
    "Framework :: Jupyter",
    "Framework :: IPython",
    "License :: OSI Approved :: MIT License",
    "Typing :: Typed",
)
JUNK = re.compile(r"(^|/)(tests?|__pycache__|\.[^/]+|build|dist)/|\.(pyc|pyo|orig|rej|db|log)$|~$")
MOST_WHEEL_BYTES = 2_000_000


class Problem(Exception):
    """A failed check, described in one line."""


def package_version(root: Path = REPOSITORY) -> str:
    """Return the version from ``claude_force_nb/__init__.py``, its only source, without importing the package."""
    tree = ast.parse((root / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    found = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and [getattr(target, "id", "") for target in node.targets] == ["__version__"]
        and isinstance(node.value, ast.Constant)
    ]
    if len(found) != 1 or not isinstance(found[0], str):
        raise Problem(f"{PACKAGE}/__init__.py does not have one __version__")
    return found[0]


def check_version(root: Path = REPOSITORY) -> str:
    """Check that the version is defined in one file only."""
    version = package_version(root)
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    if not re.search(r'^dynamic = \[.*"version"', text, re.MULTILINE) or re.search(
        r'^version\s*=\s*"', text, re.MULTILINE
    ):
        raise Problem("pyproject.toml has a version of its own; the one in __init__.py is enough")
    return f"version {version}, in {PACKAGE}/__init__.py only"


def check_changelog(root: Path = REPOSITORY) -> str:
    """Check that the first section is for this version, with entries under the headings of Keep a Changelog."""
    version = package_version(root)
    lines = (root / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    sections = [line for line in lines if line.startswith("## ")]
    first = re.fullmatch(r"## \[?([^\] ]+)\]? - (\d{4}-\d{2}-\d{2}|not released)", sections[0]) if sections else None
    if first is None or first.group(1) != version:
        raise Problem(f"CHANGELOG.md does not begin with a section '## [{version}] - DATE'")
    kinds = [line[4:] for line in lines if line.startswith("### ")]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise Problem(
            "CHANGELOG.md has headings that are not kinds of changes: {}".format(", ".join(unknown) or "none")
        )
    within = ""
    for number, line in enumerate(lines, 1):
        within = line if line.startswith("#") else within
        if line.startswith("- ") and not within.startswith("### "):
            raise Problem(f"CHANGELOG.md, line {number}: the entry stands under no kind of change")
    return "CHANGELOG.md: {}, by kind ({})".format(sections[0][3:], ", ".join(dict.fromkeys(kinds)))


def copy_tree(root: Path, target: Path) -> None:
    """Copy the files that a commit of everything in `root` would contain."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=str(root), stdout=subprocess.PIPE, check=True).stdout.decode("utf-8")
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(root / name), str(target / name))  # with a new time, which must not matter


def build(root: Path, output: Path) -> Tuple[Path, Path]:
    """Build wheel and sdist from a copy of `root`, and return their paths."""
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(root, tree)
        when = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=str(root), stdout=subprocess.PIPE, check=True)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": when.stdout.decode("ascii").strip()}
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(output)]
        done = subprocess.run(
            command, cwd=str(tree), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise Problem("it cannot be built: " + (done.stdout.strip().splitlines() or ["no reason given"])[-1])
    (wheel,) = output.glob("*.whl")
    (sdist,) = output.glob("*.tar.gz")
    return wheel, sdist


def check_reproducible(first: Iterable[Path], second: Iterable[Path]) -> str:
    """Check that both builds are identical byte for byte."""
    sums = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built} for built in (first, second)]
    if sums[0] != sums[1]:
        differing = sorted(name for name in {*sums[0], *sums[1]} if sums[0].get(name) != sums[1].get(name))
        raise Problem("two builds differ: {}".format(", ".join(differing)))
    return "built twice, equal: {}".format(", ".join(f"{name} sha256 {value[:16]}…" for name, value in sums[0].items()))


def check_wheel(wheel: Path, root: Path = REPOSITORY) -> str:
    """Check that the wheel contains every module and file that it needs, and nothing else."""
    with zipfile.ZipFile(str(wheel)) as archive:
        names = set(archive.namelist())
    inside = {name for name in names if name.startswith(PACKAGE + "/")}
    modules = {path.relative_to(root).as_posix() for path in (root / PACKAGE).rglob("*.py")}
    missing = sorted((modules | {f"{PACKAGE}/{name}" for name in NEEDED}) - inside)
    if missing:
        raise Problem("the wheel lacks {}".format(", ".join(missing)))
    about = {name for name in names if re.match(rf"{PACKAGE}-[^/]+\.dist-info/", name)}
    extra = sorted(name for name in names - about if name not in inside or JUNK.search(name))
    if extra:
        raise Problem("the wheel has what does not belong in it: {}".format(", ".join(extra)))
    if not any(name.endswith("/licenses/LICENSE") for name in about):
        raise Problem("the wheel has no licence")
    size = wheel.stat().st_size
    if size > MOST_WHEEL_BYTES:
        raise Problem(f"the wheel has {size:,} bytes, more than {MOST_WHEEL_BYTES:,}")
    return f"wheel: {len(modules)} modules, {len(inside) - len(modules)} files of data, licence, {size:,} bytes"


def check_sdist(sdist: Path, root: Path = REPOSITORY) -> str:
    """Check that the sdist contains everything for building and testing, and no stray files."""
    with tarfile.open(str(sdist)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "PKG-INFO", "tests/conftest.py"}
    missing = sorted(needed - names)
    if missing:
        raise Problem("the sdist lacks {}".format(", ".join(missing)))
    junk = sorted(name for name in names if re.search(r"(^|/)(__pycache__|\.(?!gitignore)[^/]+)(/|$)|\.pyc$", name))
    if junk:
        raise Problem("the sdist has what does not belong in it: {}".format(", ".join(junk[:5])))
    return f"sdist: {len(names)} files, tests and documentation among them, {sdist.stat().st_size:,} bytes"


def metadata_of(wheel: Path) -> Dict[str, List[str]]:
    """Return the fields of the wheel's metadata, and its console commands as ``console_scripts``."""
    with zipfile.ZipFile(str(wheel)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        message = Parser().parsestr(archive.read(name).decode("utf-8"))
        points = archive.read(name.replace("METADATA", "entry_points.txt")).decode("utf-8")
    fields: Dict[str, List[str]] = {}
    for key, value in message.items():
        fields.setdefault(key, []).append(value)
    fields["entry_points"] = points.split("\n")
    fields["description"] = [str(message.get_payload())]
    return fields


def check_metadata(wheel: Path, root: Path = REPOSITORY) -> str:
    """Check that the metadata shown on PyPI is complete."""
    fields = metadata_of(wheel)
    if fields["Version"] != [package_version(root)]:
        raise Problem("the wheel is of version {}".format(fields["Version"]))
    urls = [value.partition(",")[0] for value in fields.get("Project-URL", [])]
    for what, wanted, found in (
        ("links", PROJECT_URLS, urls),
        ("classifiers", CLASSIFIERS, fields.get("Classifier", [])),
        ("extras", EXTRAS, fields.get("Provides-Extra", [])),
        ("entry points", (f"claude-force-nb = {PACKAGE}.__main__:main",), fields["entry_points"]),
        ("fields", ("Summary", "Requires-Python", "Author", "Keywords", "License-File"), list(fields)),
    ):
        missing = [name for name in wanted if name not in found]
        if missing:
            raise Problem("the metadata lacks {}: {}".format(what, ", ".join(missing)))
    relative = re.findall(r"\]\((?!https?://|#)([^)]+)\)", fields["description"][0])
    if relative:
        raise Problem("the README has links that lead nowhere from PyPI: {}".format(", ".join(relative[:5])))
    return (
        f"metadata: {len(urls)} links, {len(fields['Classifier'])} classifiers, {len(fields['Provides-Extra'])} extras"
    )


def check_twine(built: Iterable[Path]) -> str:
    """Check with ``twine check --strict`` that PyPI would accept the files and can render the README."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Problem("twine check: " + " ".join(done.stdout.split())[:300])
    return f"twine check --strict: {done.stdout.count('PASSED')} files passed"


def check_installed(wheel: Path, folder: Path, root: Path = REPOSITORY) -> str:
    """Check that the wheel installs in an empty environment, and its command prints the version."""
    environment = folder / "environment"
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        steps = [[uv, "venv", "--quiet", "--python", sys.executable, str(environment)]]
        steps += [[uv, "pip", "install", "--quiet", "--python", str(python), str(wheel)]]
    else:
        steps = [
            [sys.executable, "-m", "venv", str(environment)],
            [str(python), "-m", "pip", "install", "--quiet", str(wheel)],
        ]
    steps.append([str(python.parent / "claude-force-nb"), "--version"])
    for step in steps:
        done = subprocess.run(step, cwd=str(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Problem("{} fails: {}".format(" ".join(step[:3]), " ".join(done.stdout.split())[-300:]))
    if done.stdout.strip() != package_version(root):
        raise Problem(f"claude-force-nb --version prints {done.stdout.strip()}")
    return "installed in an empty environment: claude-force-nb --version"


def check_git(root: Path = REPOSITORY) -> str:
    """Check that everything is committed, and that the version has no tag yet."""
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=str(root), stdout=subprocess.PIPE, check=True).stdout
    if changed:
        raise Problem(f"{len(changed.splitlines())} files are not committed")
    tag = "v" + package_version(root)
    if subprocess.run(["git", "tag", "--list", tag], cwd=str(root), stdout=subprocess.PIPE, check=True).stdout:
        raise Problem(f"there is a tag {tag} already; raise the version")
    return f"everything is committed, and there is no tag {tag} yet"


class Step(NamedTuple):
    """One line of the checklist."""

    holds: bool
    says: str


def run_checks(output: Path, *, installed: bool = True, committed: bool = True) -> List[Step]:
    """Run all checks, and leave the built files in `output`.

    Parameters
    ----------
    output : Path
        Folder for the built files; those of earlier runs are removed.
    installed, committed : bool
        False skips the check of the installation, or that of git.
    """
    steps: List[Step] = []

    def step(check: Callable[[], str]) -> None:
        try:
            steps.append(Step(True, check()))
        except Problem as problem:
            steps.append(Step(False, str(problem)))

    shutil.rmtree(str(output), ignore_errors=True)
    output.mkdir(parents=True)
    step(check_version)
    step(check_changelog)
    if committed:
        step(check_git)
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        try:
            first = build(REPOSITORY, output)
            second = build(REPOSITORY, Path(folder) / "again")
        except Problem as problem:
            return [*steps, Step(False, str(problem))]
        step(lambda: check_reproducible(first, second))
        step(lambda: check_wheel(first[0]))
        step(lambda: check_sdist(first[1]))
        step(lambda: check_metadata(first[0]))
        step(lambda: check_twine(first))
        if installed:
            step(lambda: check_installed(first[0], Path(folder)))
    return steps


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "dist", help="where wheel and sdist go; default: dist"
    )
    steps = run_checks(parser.parse_args(arguments).output)
    for holds, says in steps:
        print("[{}] {}".format("x" if holds else " ", says))
    version = package_version()
    print("By hand:")
    print("[ ] make check has passed on this commit")
    print("[ ] make prices prints nothing")
    print(f"[ ] CHANGELOG.md has the date of the release in place of 'not released'; git tag v{version}")
    print("[ ] twine upload dist/*; then README and docs/ no longer say that PyPI is coming (grep -rn PyPI)")
    failed = sum(not holds for holds, _ in steps)
    if failed:
        print(f"{failed} of {len(steps)} checks do not hold", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
