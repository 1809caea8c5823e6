"""%claude_answers: keeps answers in a file next to the notebook, and reruns the notebook from it."""

from __future__ import annotations

import os
import shlex
from typing import Any, Dict, List, Mapping, Tuple

from claude_force_nb.answers import AnswerFile
from claude_force_nb.errors import AnswerFileError, OptionError
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.options.reading import read_setting
from claude_force_nb.notebook.session.answers import trust_line
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.storage.regular_file import project_of
from claude_force_nb.vocabulary import ANSWER_MODES, counted, did_you_mean

from .reference import Reference, wants_help

__all__ = ["ACTIONS", "REFERENCE", "answers"]

ACTIONS = ("record", "use", "frozen", "off", "save", "status", "prune")
SUFFIX = ".answers.jsonl"
# Options after the path. The settings of the same meaning are called answers_redact and answers_max_age_days.
_FILE_OPTIONS = ("redact", "max_age_days")
MERGE_LINE = "*.answers.jsonl merge=union -text"
REFERENCE = Reference(
    magic="%claude_answers",
    summary="Keeps answers in a file beside the notebook, so that it runs again anywhere with the same answers.",
    words=(
        (
            "record",
            "the answers of this session so far, and each one from now on, go into the file",
            "a path; redact=prompts leaves out what was asked",
        ),
        ("use", "the file answers, then the cache, then a call", "a path; max_age_days=30 ignores older answers"),
        ("frozen", "only the file answers: no key, no network", "a path"),
        ("off", "use no file", ""),
        ("save", "write the file now; it is also written after each cell", ""),
        ("status", "mode, answers, and which lines are ignored; this is the default", ""),
        ("prune", "remove the answers that this run did not use", ""),
    ),
    examples=(
        ("%claude_answers record review.answers.jsonl", "before the file is committed"),
        ("%claude_answers frozen review.answers.jsonl", "the same answers, free of charge"),
    ),
    page="reference/answer-files.md",
)


def answers(session: NotebookSession, line: str, *, environ: Mapping[str, str]) -> Bundle:
    """Run one of `ACTIONS`, and return what to show.

    If ``CLAUDE_FORCE_ANSWERS_MODE=frozen`` is set, as by ``replay``, neither the file nor the mode changes.

    Raises
    ------
    OptionError
        If a word is unknown, or no file is named.
    AnswerFileError
        If the file cannot be read or written.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    action, _, rest = line.strip().partition(" ")
    action = action or "status"
    if action not in ACTIONS:
        near = did_you_mean(action, ACTIONS)
        raise OptionError(f"%claude_answers takes {', '.join(ACTIONS)}, not {action!r}{near}")
    if environ.get("CLAUDE_FORCE_ANSWERS_MODE", "").strip() == "frozen" and action in (*ANSWER_MODES, "off"):
        return line_bundle("answers are frozen by CLAUDE_FORCE_ANSWERS_MODE; nothing was changed")
    if action == "off":
        for name in ("answers", "answers_mode", *(f"answers_{name}" for name in _FILE_OPTIONS)):
            session.settings.set(name, "default")
        session.answers.flush()
        return line_bundle("no answer file is used from now on")
    if action in ANSWER_MODES:
        path, options = _read_words(session, rest)
        return _set_mode(session, action, path or _usual_path(session), options)
    recorded = session.orchestrator.answers
    if recorded is None:
        raise OptionError(f"no answer file is used; name one: %claude_answers record review{SUFFIX}")
    if action == "save":
        recorded.file.save()
        return line_bundle(
            f"{counted(len(recorded.file), 'answer')} {'is' if len(recorded.file) == 1 else 'are'} in {recorded.file.name}"
        )
    if action == "prune":
        return line_bundle(f"removed {counted(recorded.file.prune(), 'answer')} that this run did not use")
    return _status(recorded.file, recorded.mode)


def _read_words(session: NotebookSession, words: str) -> Tuple[str, Dict[str, Any]]:
    """Return the path, "" if none is given, and the file's options, from the line or else from the settings."""
    options = {name: session.settings.value("answers_" + name) for name in _FILE_OPTIONS}
    path: List[str] = []
    try:
        split = shlex.split(words, posix=os.name == "posix")
    except ValueError:
        raise OptionError(f"a quote is not closed in: {words}") from None
    for word in split:
        name, equals, value = word.partition("=")
        if equals and name in _FILE_OPTIONS:
            options[name] = read_setting("answers_" + name, value, where="%claude_answers")
        elif equals and name.isidentifier():
            near = did_you_mean(name, _FILE_OPTIONS)
            raise OptionError(f"%claude_answers accepts {' and '.join(_FILE_OPTIONS)} after the path, not {name}{near}")
        else:
            path.append(word.strip("\"'"))
    return " ".join(path), options


def _usual_path(session: NotebookSession) -> str:
    """Return the path in the settings, or else the one next to the notebook if the notebook's name is known."""
    known = session.settings.value("answers")
    if known:
        return str(known)
    notebook = os.path.basename(session.front_end.notebook_name())
    if notebook.endswith(".ipynb"):
        return notebook[: -len(".ipynb")] + SUFFIX
    raise OptionError(f"the notebook's name is not known here; name the file, such as review{SUFFIX}")


def _set_mode(session: NotebookSession, mode: str, path: str, options: Mapping[str, Any]) -> Bundle:
    file = session.answers.file(path, **options)
    file.load()
    if mode != "record" and not file.exists():
        raise AnswerFileError(f"answer file {path} not found; record one: %claude_answers record {path}")
    session.settings.set("answers", path)
    session.settings.set("answers_mode", mode)
    for name, value in options.items():
        if value is not None:
            session.settings.set("answers_" + name, str(value))
    if mode == "record":
        session.answers.record_remembered(file)
        file.save()
        return line_bundle(f"answers are recorded into {file.name}{_merge_hint(file.path)}")
    trust = f"; {trust_line(file.unsigned)}" if file.unsigned else ""
    also = "" if mode == "frozen" else " first"
    return line_bundle(f"{file.name} answers{also}: {counted(len(file), 'answer')}{trust}")


def _merge_hint(path: str) -> str:
    """Return a hint on how to let git merge the file, if its project lacks that setting."""
    project = project_of(path, or_working_directory=False)
    if project is None or not os.path.isdir(os.path.join(project, ".git")):
        return ""
    try:
        with open(os.path.join(project, ".gitattributes"), encoding="utf-8", errors="replace") as file:
            known = SUFFIX in file.read(1_000_000)
    except OSError:
        known = False
    return "" if known else f"; for git to merge it, add to .gitattributes: {MERGE_LINE}"


def _status(file: AnswerFile, mode: str) -> Bundle:
    rows: Tuple[Tuple[str, str], ...] = (
        ("file", file.name),
        ("mode", mode),
        ("answers", f"{len(file):,}"),
        ("not signed by you", f"{file.unsigned:,}"),
        ("not used in this run", f"{len(file.unused):,}"),
    )
    faults = [(f"line {fault.number}", fault.reason) for fault in file.faults]
    return table_bundle(("answers", "value"), [*rows, *faults])
