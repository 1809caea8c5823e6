"""What is released is whole, holds no junk, and is the same whoever builds it; see tools/release_check.py."""

from __future__ import annotations

import importlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

import claude_force_nb

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tool() -> Any:
    return importlib.import_module("release_check")


def test_the_version_has_one_source(tool: Any) -> None:
    """pyproject.toml takes it from the package."""
    assert tool.package_version() == claude_force_nb.__version__
    assert tool.check_version().startswith(f"version {claude_force_nb.__version__}")


def test_the_changelog_has_the_version_and_kinds_of_changes(tool: Any, tmp_path: Path) -> None:
    """Each entry stands under Added, Changed, Deprecated, Removed, Fixed or Security."""
    assert claude_force_nb.__version__ in tool.check_changelog()
    package = tmp_path / "claude_force_nb"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "2.0"\n', encoding="utf-8")
    for text, reason in (
        ("## 1.0 - 2026-01-01\n\n### Added\n\n- x\n", "does not begin with"),
        ("## 2.0 - 2026-01-01\n\n### News\n\n- x\n", "not kinds of changes: News"),
        ("## 2.0 - soon\n\n### Added\n", "does not begin with"),
        ("## 2.0 - not released\n\n- x\n\n### Added\n\n- y\n", "line 4: the entry stands under no kind"),
    ):
        (tmp_path / "CHANGELOG.md").write_text("# Changelog\n" + text, encoding="utf-8")
        with pytest.raises(tool.Problem, match=reason):
            tool.check_changelog(tmp_path)


def test_what_is_wrong_with_a_wheel_is_named(tool: Any, tmp_path: Path) -> None:
    """A module that is missing, a test that came along, a licence that did not."""
    module = tmp_path / "claude_force_nb" / "api" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.touch()
    whole = ["claude_force_nb/api/__init__.py", *(f"claude_force_nb/{name}" for name in tool.NEEDED)]
    licence = "claude_force_nb-1.dist-info/licenses/LICENSE"

    def wheel(*names: str) -> Path:
        with zipfile.ZipFile(str(tmp_path / "x.whl"), "w") as archive:
            for name in names:
                archive.writestr(name, "")
        return tmp_path / "x.whl"

    assert tool.check_wheel(wheel(*whole, licence), tmp_path).startswith("wheel: 1 modules")
    for names, reason in (
        ((*whole[1:], licence), "lacks claude_force_nb/api/__init__.py"),
        ((whole[0], licence), "lacks .*py.typed"),
        (whole, "no licence"),
        (
            (*whole, licence, "claude_force_nb/tests/test_x.py"),
            "does not belong in it: claude_force_nb/tests/test_x.py",
        ),
        ((*whole, licence, "tests/conftest.py"), "does not belong in it: tests/conftest.py"),
        ((*whole, licence, "claude_force_nb/api/__pycache__/x.pyc"), "does not belong"),
    ):
        with pytest.raises(tool.Problem, match=reason):
            tool.check_wheel(wheel(*names), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_and_sdist_are_what_they_should_be(tool: Any, tmp_path: Path) -> None:
    """Built twice, the same bytes; contents, metadata and ``twine check`` hold."""
    pytest.importorskip("hatchling", reason="hatchling is not installed (the extra 'dev')")
    pytest.importorskip("twine", reason="twine is not installed (the extra 'dev')")
    if subprocess.run(["git", "rev-parse"], cwd=str(ROOT), stderr=subprocess.DEVNULL).returncode:
        pytest.skip("there is no git here")
    steps = tool.run_checks(tmp_path / "dist", installed=False, committed=False)
    assert [says for holds, says in steps if not holds] == []
    assert len(steps) == 7
