"""AnswerFile: what is written comes back, line by line, and what was damaged does not count."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import NOW, SECRET, answer, line_of, opened, question, recorded

from claude_force_nb.answers.keys import AnswerKeys
from claude_force_nb.answers.lines import split_lines
from claude_force_nb.errors import AnswerFileError, AnswerFileWarning, OptionError
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.storage.secret import KEY_FILE_NAME, read_or_make_key

TEXTS = ["What is a monad?", "Why is the sky blue?", "Ist das Wasser weiß?"]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")


def faults_of(path: Path, *, secret: str = "") -> List[str]:
    """Why lines of a file do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnswerFileWarning)
        return [str(fault) for fault in opened(path, secret=secret).faults]


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    """Text, usage, model, stop reason, request id and thinking of an answer are those that were recorded, and its age is known."""
    path = tmp_path / "x.answers.jsonl"
    given_answer = answer("é half \ud800 pair\u2028end", thinking="hm", stop_reason="max_tokens", status="cut_off")
    file = opened(path)
    assert file.put(question("why?", agent="reviewer"), given_answer)
    file.save()
    found = opened(path).get(question("why?"))
    assert found is not None
    assert found.to_record() == given_answer.to_record()
    assert (found.status, found.cached, found.cost, found.age_seconds) == ("cut_off", True, 0, 0.0)
    known = opened(path).entry(question("why?").fingerprint)
    assert known is not None
    assert (known.agent, known.created) == ("reviewer", NOW)
    assert opened(path).get(question("why not?")) is None


def test_the_file_is_sorted_and_canonical_without_secrets_and_paths(tmp_path: Path) -> None:
    """The same answers give the same bytes in whatever order they came; lines are JSON with sorted keys."""
    one = recorded(tmp_path / "one.jsonl", TEXTS, secret=SECRET)
    two = recorded(tmp_path / "two.jsonl", TEXTS[::-1], secret=SECRET)
    data = Path(one.path).read_bytes()
    assert data == Path(two.path).read_bytes()
    assert SECRET.encode() not in data
    assert str(tmp_path).encode() not in data
    assert data.endswith(b"\n")
    lines = data.decode("utf-8").splitlines()
    parsed = [json.loads(line) for line in lines]
    for line, value in zip(lines, parsed):
        assert line == json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert parsed[0] == {"format": "claude_force_nb answers", "package": parsed[0]["package"], "version": 1}
    assert [value["fingerprint"] for value in parsed[1:]] == sorted(question(text).fingerprint for text in TEXTS)


def test_prompts_can_be_left_out(tmp_path: Path) -> None:
    """With redact=prompts no word of a question is in the file, and it answers all the same."""
    file = recorded(tmp_path / "x.jsonl", [], redact="prompts")
    file.put(question("my private question"), answer("42"))
    file.save()
    assert b"private" not in Path(file.path).read_bytes()
    assert str(opened(tmp_path / "x.jsonl").get(question("my private question"))) == "42"
    with pytest.raises(OptionError, match="redact must be one of none, prompts, not 'all'"):
        opened(tmp_path / "x.jsonl", redact="all")


JSON_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=40)


@given(
    st.dictionaries(JSON_TEXT.filter(str.strip), JSON_TEXT, max_size=5),
    st.booleans(),
    st.sampled_from(["end_turn", None, "refusal", "max_tokens"]),
)
def test_what_is_written_is_read(texts: Dict[str, str], signed: bool, stop_reason: str) -> None:
    """For every text: the lines that are made are the lines that count, and say what was given."""
    keys = AnswerKeys([SECRET.encode()] if signed else [])
    lines = [line_of(question(asked), answer(text, stop_reason=stop_reason), keys) for asked, text in texts.items()]
    first = b'{"format":"claude_force_nb answers","package":"0.1.0","version":1}'
    header, found, faults = split_lines(b"\n".join([first, *(line.data for line in lines), b""]), keys)
    assert (header, faults) == (first, [])
    assert [line.decode().result.to_record() for line in found] == [
        answer(text, stop_reason=stop_reason).to_record() for text in texts.values()
    ]
    assert all(line.signed is signed and line.asks_what_it_says() for line in found)


@pytest.mark.parametrize("secret", ["", SECRET], ids=["unsigned", "signed"])
def test_every_single_byte_that_is_changed(tmp_path: Path, secret: str) -> None:
    """Whichever byte of a file is changed: its line is reported, or the answers are the same."""
    path = tmp_path / "x.jsonl"
    recorded(path, TEXTS[:2], secret=secret)
    data = path.read_bytes()
    keys = AnswerKeys([secret.encode()] if secret else [])
    _, lines, _ = split_lines(data, keys)
    original = {line.fingerprint: line.decode().result for line in lines}
    named = 0
    for place in range(len(data)):
        number = data.count(b"\n", 0, place) + 1
        for change in (0x01, 0x20, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= change
            try:
                _, found, faults = split_lines(bytes(damaged), keys)
            except AnswerFileError as error:
                refused = str(error)
                assert (refused[:6], number) == ("line 1", 1), place
                continue
            answers = {line.fingerprint: line.decode().result for line in found}
            if answers != original:
                assert number in {fault.number for fault in faults}, (place, change)
                assert answers.items() <= original.items(), (place, change)
                named += 1
    assert named > 1000


def test_each_kind_of_bad_line_is_named_and_the_others_count(tmp_path: Path) -> None:
    """A changed, cut, duplicated or foreign line does not count; the good one among them does."""
    path = tmp_path / "x.jsonl"
    recorded(path, TEXTS)
    first, *lines = path.read_bytes().splitlines()
    changed = lines[0].replace(b"You asked", b"You said")
    forged = b'{"text":"free money"}'
    text = next(text for text in TEXTS if question(text).fingerprint.encode() in lines[1])
    other = line_of(question(text), answer("other"), AnswerKeys()).data
    path.write_bytes(b"\n".join([first, changed, lines[1], lines[2][:-30], other, forged, b""]))
    assert faults_of(path) == [
        "line 2 was changed",
        "line 4 is cut short",
        "line 5 repeats line 3",
        "line 6 was changed, or is not an answer",
    ]
    with pytest.warns(AnswerFileWarning, match=r"x\.jsonl: line 2 was changed, line 4 is cut short"):
        assert len(opened(path)) == 1


def test_a_signature_that_is_wrong_is_named_only_where_its_key_is_known(tmp_path: Path) -> None:
    """If content and checksum of a line were changed together, its signer refuses it; to others it is unsigned."""
    path = tmp_path / "x.jsonl"
    recorded(path, TEXTS[:1], secret=SECRET)
    first, line = path.read_bytes().splitlines()
    forged = line_of(question(TEXTS[0]), answer("forged"), AnswerKeys())
    signature = line[line.index(b',"signature"') :]
    path.write_bytes(b"\n".join([first, forged.data[:-1] + signature, b""]))
    assert faults_of(path, secret=SECRET) == ["line 2 was changed after it was signed"]
    assert faults_of(path) == []
    assert opened(path).unsigned == 1


def test_who_signed_is_known_and_an_older_secret_too(tmp_path: Path) -> None:
    """Lines are unsigned to those without the secret; a secret that was replaced still checks."""
    path = tmp_path / "x.jsonl"
    assert recorded(path, TEXTS, secret=SECRET).unsigned == 0
    assert opened(path).unsigned == 3
    assert opened(path, secret="another secret, 0123456789").unsigned == 3
    environ = {"CLAUDE_CACHE_SECRET": "another secret, 0123456789", "CLAUDE_CACHE_SECRET_PREVIOUS": SECRET}
    assert type(opened(path))(path, environ=environ).unsigned == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello\n", "line 1 is not the header of an answer file"),
        (b"\x00" * 100, "line 1 is not the header"),
        (
            b'{"format":"claude_force_nb answers","package":"9","version":2}\n',
            "made by a newer version of claude_force_nb; upgrade",
        ),
    ],
)
def test_what_is_not_an_answer_file_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    """Another file is refused as a whole, and is not written over."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    with pytest.raises(AnswerFileError, match=message):
        opened(path).load()
    with pytest.raises(AnswerFileError, match=message):
        opened(path).put(question("x"), answer("y"))
    assert path.read_bytes() == data


def test_lines_of_another_kind_with_a_right_checksum_are_refused_when_they_are_used(tmp_path: Path) -> None:
    """A valid checksum alone is not enough: a record with missing or wrongly typed fields is a miss."""
    path = tmp_path / "x.jsonl"
    recorded(path, TEXTS[:1])
    first, line = path.read_bytes().splitlines()
    for old, new in ((b'"text":"You', b'"tixt":"You'), (b'"end_turn"', b"17"), (b'"date":"2', b'"date":"x')):
        content = line[: line.index(b',"sha256"')].replace(old, new)
        checksum = hashlib.sha256(content).hexdigest().encode()
        path.write_bytes(b"\n".join([first, content + b',"sha256":"' + checksum + b'"}', b""]))
        file = opened(path)
        assert file.get(question(TEXTS[0])) is None
        assert [str(fault) for fault in file.faults] == ["line 2 is not an answer of this version"]


def test_old_answers_do_not_count_where_an_age_is_set(tmp_path: Path) -> None:
    """An answer over max_age_days is named as expired."""
    path = tmp_path / "x.jsonl"
    file = opened(path)
    file.put(question("old"), answer("old", age_seconds=8 * 86400.0, cached=True))
    file.put(question("new"), answer("new"))
    file.save()
    assert len(opened(path)) == 2
    with pytest.warns(AnswerFileWarning, match="is expired"):
        assert len(opened(path, max_age_days=7)) == 1
    with pytest.raises(OptionError, match="max_age_days must be greater than 0"):
        opened(path, max_age_days=0)


def test_old_answers_of_other_kernels_do_not_count_where_an_age_is_set(tmp_path: Path) -> None:
    """An answer over max_age_days stays ignored when another kernel writes to the file, before or after it was opened."""
    path = tmp_path / "x.jsonl"
    other = opened(path)
    other.put(question("old"), answer("old", age_seconds=8 * 86400.0, cached=True))
    other.save()
    file = opened(path, max_age_days=7)
    with pytest.warns(AnswerFileWarning, match="is expired"):
        assert file.get(question("old")) is None
    other.put(question("older"), answer("older", age_seconds=9 * 86400.0, cached=True))
    other.put(question("new"), answer("new"))
    other.save()
    file.put(question("mine"), answer("mine"))
    file.save()
    assert file.get(question("new")) is not None
    assert [file.get(question(text)) for text in ("old", "older")] == [None, None]


def test_an_age_deletes_nothing(tmp_path: Path) -> None:
    """Expired answers are ignored where an age is set, and stay in the file for those who set none, until they are pruned."""
    path = tmp_path / "x.jsonl"
    other = opened(path)
    for text in ("old", "older"):
        other.put(question(text), answer(text, age_seconds=8 * 86400.0, cached=True))
    other.save()
    file = opened(path, max_age_days=7)
    with pytest.warns(AnswerFileWarning, match="is expired"):
        assert len(file) == 0
    file.put(question("older"), answer("asked again"))
    file.put(question("mine"), answer("mine"))
    file.save()
    everything = opened(path)
    found = [everything.get(question(text)) for text in ("old", "older", "mine")]
    assert [each and each.text for each in found] == ["old", "asked again", "mine"]
    assert file.prune() == 1
    assert sorted(opened(path).fingerprints()) == sorted(question(text).fingerprint for text in ("older", "mine"))


def test_failed_answers_are_not_recorded_and_refused_ones_are(tmp_path: Path) -> None:
    """What is recorded is what the API answered."""
    file = opened(tmp_path / "x.jsonl")
    assert not file.put(question("a"), ClaudeResult(status="failed", error=ValueError("x")))
    assert not file.put(question("b"), ClaudeResult(status="not_sent"))
    assert file.put(question("c"), answer("", status="refused", stop_reason="refusal"))
    assert len(file) == 1


def test_an_answer_is_replaced_only_where_that_is_asked(tmp_path: Path) -> None:
    """The first answer stays; a refresh replaces it."""
    file = recorded(tmp_path / "x.jsonl", TEXTS[:1])
    assert not file.put(question(TEXTS[0]), answer("another"))
    assert file.put(question(TEXTS[0]), answer("another"), replace=True)
    file.save()
    assert str(opened(tmp_path / "x.jsonl").get(question(TEXTS[0]))) == "another"
    assert len(Path(file.path).read_bytes().splitlines()) == 2


def test_two_who_record_into_one_file_lose_nothing(tmp_path: Path) -> None:
    """Answers that another kernel wrote since the file was read are kept."""
    path = tmp_path / "x.jsonl"
    one, two = recorded(path, TEXTS[:1]), opened(path)
    two.load()
    one.put(question("one"), answer("1"))
    one.save()
    two.put(question("two"), answer("2"))
    two.save()
    assert len(opened(path)) == 3


@pytest.mark.skipif(os.name == "nt", reason="no locks on folders")
def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each writes what the others have written meanwhile, however often they meet."""
    script = (
        "import sys; from support.answers import answer, question; from claude_force_nb.answers import AnswerFile\n"
        "file = AnswerFile(sys.argv[1], environ={})\n"
        "file.load(); print(flush=True); sys.stdin.readline()\n"
        "for number in range(40):\n"
        "    file.put(question(f'{sys.argv[2]} {number}'), answer('x')); file.save()\n"
    )
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root.parent)]), "HOME": str(tmp_path)}
    path = tmp_path / "x.jsonl"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(number)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for number in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=100)
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(opened(path)) == 120


def test_prune_removes_what_was_not_used(tmp_path: Path) -> None:
    """Answers count as used if they were asked for, or recorded, since the file was opened."""
    path = tmp_path / "x.jsonl"
    recorded(path, TEXTS)
    file = opened(path)
    file.get(question(TEXTS[1]))
    assert len(file.unused) == 2
    assert file.prune() == 2
    assert opened(path).fingerprints() == [question(TEXTS[1]).fingerprint]


@posix
def test_the_file_keeps_its_permissions_and_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    """What is replaced keeps its mode; a link of a repository never has a file read or made elsewhere."""
    project = tmp_path / "project"
    project.mkdir()
    (project / ".git").mkdir()
    path = project / "x.jsonl"
    recorded(path, TEXTS[:1])
    path.chmod(0o640)
    recorded(path, TEXTS)
    assert path.stat().st_mode & 0o777 == 0o640
    outside = tmp_path / "outside.jsonl"
    os.replace(path, outside)
    path.symlink_to(outside)
    with pytest.raises(AnswerFileError, match="through a symbolic link to a file outside the folder"):
        opened(path).load()
    outside.unlink()
    file = opened(path)
    with pytest.raises(AnswerFileError, match="through a symbolic link to a file outside the folder"):
        file.put(question("x"), answer("y"))
    assert not outside.exists()


@posix
def test_a_file_that_cannot_be_written_costs_a_warning_and_no_answer(tmp_path: Path) -> None:
    """While answers arrive nothing raises; an explicit save does. Nothing half-written stays."""
    folder = tmp_path / "missing"
    file = opened(folder / "x.jsonl")
    with pytest.warns(AnswerFileWarning, match=r"cannot be written: .*; answers are not recorded"):
        assert file.put(question("x"), answer("y"))
    with pytest.raises(AnswerFileError, match="cannot be written"):
        file.save()
    folder.mkdir()
    assert file.save()
    assert [each.name for each in folder.iterdir()] == ["x.jsonl"]


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    names = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *names, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a file of two answers."""
    folder = tmp_path / "repository"
    folder.mkdir()
    assert git(folder, "init", "-q", "-b", "main").returncode == 0
    recorded(folder / "x.answers.jsonl", TEXTS[:2])
    return folder


def record_on_two_branches(folder: Path) -> subprocess.CompletedProcess[str]:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    for branch in ("one", "two"):
        git(folder, "checkout", "-q", "-b", branch, "main")
        recorded(folder / "x.answers.jsonl", [f"{branch} {number}" for number in range(5)])
        git(folder, "commit", "-q", "-am", branch)
    return git(folder, "merge", "-q", "one", "-m", "merge")


def test_git_merges_what_two_people_record(repository: Path) -> None:
    """With the line for .gitattributes in the documentation, the answers of both count after the merge."""
    (repository / ".gitattributes").write_text("*.answers.jsonl merge=union -text\n")
    merged = record_on_two_branches(repository)
    assert merged.returncode == 0, merged.stdout
    # Lines between those that differ may be there twice, which is no harm and no warning.
    assert all(" repeats line " in fault for fault in faults_of(repository / "x.answers.jsonl"))
    file = opened(repository / "x.answers.jsonl")
    assert len(file) == 12
    file.put(question("and one more"), answer("1"))
    file.save()
    assert git(repository, "diff", "--stat").stdout.count("\n") >= 1
    lines = Path(file.path).read_bytes().splitlines()[1:]
    assert [json.loads(line)["fingerprint"] for line in lines] == file.fingerprints()


def test_a_merge_that_is_not_resolved_is_one_line_and_nothing_is_written(repository: Path) -> None:
    """Conflict markers are named once, the answers between them count, and the file is left for whoever resolves it."""
    merged = record_on_two_branches(repository)
    assert merged.returncode != 0
    path = repository / "x.answers.jsonl"
    data = path.read_bytes()
    found = faults_of(path)
    assert len([fault for fault in found if " repeats line " not in fault]) == 1
    assert "is a conflict marker of git to line" in found[0]
    assert "resolve the merge" in found[0]
    file = opened(path)
    with pytest.warns(AnswerFileWarning, match="resolve the merge"):
        assert len(file) == 12
    with pytest.warns(AnswerFileWarning, match="nothing was written"):
        file.put(question("x"), answer("y"))
    assert path.read_bytes() == data


def test_an_answer_of_which_only_the_fingerprint_is_known_is_completed_later(tmp_path: Path) -> None:
    """It answers at once; when the question is asked, what was asked comes into the file, unless prompts are left out."""
    asked = question("why?", agent="reviewer")
    for redact, known in (("none", True), ("prompts", False)):
        file = opened(tmp_path / f"{redact}.jsonl", redact=redact)
        assert file.put_unasked(answer("42", fingerprint=asked.fingerprint))
        assert not file.put_unasked(answer("43", fingerprint=asked.fingerprint))
        found = file.get(asked)
        assert found is not None
        assert (str(found), found.recorded) == ("42", True)
        assert file.put(asked, found) is known
        assert not file.put(asked, found)
        file.save()
        entry = opened(tmp_path / f"{redact}.jsonl").entry(asked.fingerprint)
        assert entry is not None
        assert (entry.request is not None, entry.result.text) == (known, "42")


def test_a_key_that_the_cache_makes_later_signs(tmp_path: Path) -> None:
    """A new user records before there is a key: what comes after it is signed with it."""
    file = opened(tmp_path / "x.jsonl")
    assert file.put(question("before"), answer("1"))
    read_or_make_key(tmp_path / "home" / "config" / KEY_FILE_NAME)
    assert file.put(question("after"), answer("2"))
    assert file.unsigned == 1
