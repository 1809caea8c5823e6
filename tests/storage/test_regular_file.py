"""Files that somebody else may have prepared: pipes, devices, links, sizes, and what is written beside them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from claude_force_nb.storage.regular_file import open_regular, own_target, read_regular, replace_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes of POSIX")


def test_what_is_read_is_a_regular_file_of_a_bounded_size(tmp_path: Path) -> None:
    """Pipes, devices, folders, names with a zero byte and large files are an OSError that says so, at once."""
    os.mkfifo(str(tmp_path / "pipe"))
    os.symlink(str(tmp_path / "pipe"), str(tmp_path / "link to a pipe"))
    os.symlink("/dev/zero", str(tmp_path / "endless"))
    (tmp_path / "large").write_bytes(b"x" * 1001)
    (tmp_path / "fits").write_bytes(b"x" * 1000)
    for name, reason in [
        ("pipe", "not a regular file"),
        ("link to a pipe", "not a regular file"),
        ("endless", "not a regular file"),
        (".", "not a regular file"),
        ("large", "larger than 1000 bytes"),
        ("missing", "No such file"),
        ("a\0b", "this is not a valid file name"),
    ]:
        with pytest.raises(OSError, match=reason):
            read_regular(tmp_path / name, max_bytes=1000)
    assert read_regular(tmp_path / "fits", max_bytes=1000) == b"x" * 1000


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc")
def test_a_file_that_says_it_is_empty_is_bounded_too() -> None:
    """What stands below /proc has size 0 and content all the same."""
    assert os.stat("/proc/self/status").st_size == 0
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_regular("/proc/self/status", max_bytes=100)


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    """Links of files and of folders are followed where they stay inside, and refused where they do not."""
    inside, outside = tmp_path / "repository", tmp_path / "private"
    (inside / "agents").mkdir(parents=True)
    outside.mkdir()
    (outside / "key.md").write_text("secret")
    (inside / "real.md").write_text("mine")
    os.symlink(str(outside / "key.md"), str(inside / "absolute.md"))
    os.symlink("../../private/key.md", str(inside / "agents" / "relative.md"))
    os.symlink(str(outside), str(inside / "folder"))
    os.symlink("../real.md", str(inside / "agents" / "fine.md"))
    for name in ("absolute.md", "agents/relative.md", "folder/key.md", "agents/../../private/key.md"):
        with pytest.raises(OSError, match="through a symbolic link to a file outside the folder"):
            open_regular(inside / name, within=inside)
    for name in ("agents/fine.md", "real.md"):
        assert read_regular(inside / name, within=inside, max_bytes=10) == b"mine"
    # The whole place may be reached by a link.
    os.symlink(str(inside), str(tmp_path / "alias"))
    assert read_regular(tmp_path / "alias" / "real.md", within=tmp_path / "alias", max_bytes=10) == b"mine"


def test_a_file_is_replaced_as_a_whole_and_no_link_is_followed(tmp_path: Path) -> None:
    """What is there stays until the new file is complete, which is 0600 whatever the umask; links and pipes are left alone."""
    target, private = tmp_path / "out.csv", tmp_path / "private"
    target.write_text("old")
    private.write_text("private")
    before = os.umask(0)
    try:
        with suppress(InterruptedError), replace_file(target) as file:
            file.write("half")
            raise InterruptedError
        assert target.read_text() == "old"
        with replace_file(target) as file:
            file.write("é\n")
            draft = next(path for path in tmp_path.iterdir() if path.suffix == ".tmp")
            assert stat.S_IMODE(draft.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert target.read_bytes() == "é\n".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    os.symlink(str(private), str(tmp_path / "link"))
    os.symlink(str(tmp_path / "nowhere"), str(tmp_path / "dangling"))
    os.mkfifo(str(tmp_path / "pipe"))
    for name in ("link", "dangling", "pipe"):
        with pytest.raises(OSError, match=r"it is (a link|not a regular file)"), replace_file(tmp_path / name):
            pass
    assert private.read_text() == "private"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "link", "out.csv", "pipe", "private"]


def test_a_link_is_followed_only_to_a_file_that_is_there(tmp_path: Path) -> None:
    """The user's own link to a file of theirs is a target; one that dangles or leads out of a project, a pipe or a folder is not."""
    real = tmp_path / "real.jsonl"
    real.write_text("")
    os.symlink(str(real), str(tmp_path / "link.jsonl"))
    os.symlink(str(tmp_path / "made.jsonl"), str(tmp_path / "dangling.jsonl"))
    os.symlink("/dev/null", str(tmp_path / "device.jsonl"))
    assert own_target(tmp_path / "new.jsonl") == str(tmp_path / "new.jsonl")
    assert own_target(tmp_path / "link.jsonl") == str(real)
    for name, reason in [
        ("dangling.jsonl", "link to a file that does not exist"),
        ("device.jsonl", "not a regular"),
        (".", "not a regular"),
    ]:
        with pytest.raises(OSError, match=reason):
            own_target(tmp_path / name)
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    os.symlink(str(real), str(project / "out.jsonl"))
    with pytest.raises(OSError, match="it is a symbolic link to a file outside the project"):
        own_target(project / "out.jsonl")
    if os.geteuid() == 0:
        os.lchown(str(tmp_path / "link.jsonl"), 65534, 65534)
        with pytest.raises(OSError, match="another user"):
            own_target(tmp_path / "link.jsonl")
