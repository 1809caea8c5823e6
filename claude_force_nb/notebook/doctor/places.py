"""Checks cache, ledger and secret: where they are, whether they can be used, who can read them, and leftover files."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
import warnings
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Tuple, Union

from claude_force_nb.batches.store import default_jobs_path
from claude_force_nb.cache import ResponseCache
from claude_force_nb.cache.redis_state import look_at_redis
from claude_force_nb.costs.ledger import Ledger, LedgerRow, default_ledger_path
from claude_force_nb.costs.report import dollars
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.storage.secret import KEY_FILE_NAME, find_secrets
from claude_force_nb.storage.user_folders import APPLICATION, home_relative, is_temporary, user_folder
from claude_force_nb.text_tables import one_line
from claude_force_nb.vocabulary import counted

from .finding import NOTE, PROBLEM, Finding

__all__ = ["look_at_places"]

# Unusable databases that were moved aside, and temporary key files of processes that were killed.
_LEFTOVER = re.compile(r".*\.unusable-\d+|cache\.key\.[0-9a-f]{16}")
# A temporary folder of this age is taken for a leftover of a session that no longer runs.
_OLD_SECONDS = 7 * 86400


def look_at_places(settings: Settings, environ: Mapping[str, str]) -> List[Finding]:
    """Check secret, cache, ledger, permissions and leftovers. Creates no files or folders."""
    with warnings.catch_warnings():
        # Warnings of the cache are lines of this report already.
        warnings.simplefilter("ignore")
        cache = _open_cache(settings, environ)
        ledger = default_ledger_path(environ)
        folders = [user_folder("config", environ), ledger.parent, default_jobs_path(environ).parent]
        if isinstance(cache, ResponseCache):
            folders.append(cache.directory)
        folders = sorted(set(folders))
        return [
            _secret(environ, user_folder("config", environ)),
            cache if isinstance(cache, Finding) else _cache(cache),
            *_shared_cache(settings.value("cache_url") or environ.get("CLAUDE_CACHE_URL"), environ),
            _ledger(ledger),
            *_local_ledger(default_ledger_path(environ, local=True)),
            _permissions(folders),
            _leftovers(folders),
        ]


def _secret(environ: Mapping[str, str], folder: Path) -> Finding:
    try:
        current, _, complaints = find_secrets(None, environ)
    except ClaudeForceError as error:
        return Finding("Cache secret", one_line(error), PROBLEM)
    if complaints:
        return Finding("Cache secret", complaints[0], PROBLEM, "make a random one: openssl rand -hex 32")
    if current is not None:
        return Finding("Cache secret", "CLAUDE_CACHE_SECRET is set")
    path = folder / KEY_FILE_NAME
    if os.path.lexists(str(path)):
        return Finding("Cache secret", f"a random key of this machine, in {home_relative(path)}")
    return Finding("Cache secret", "none yet; a random key is made with the first cached answer")


def _open_cache(settings: Settings, environ: Mapping[str, str]) -> Union[ResponseCache, Finding]:
    try:
        return ResponseCache(
            settings.value("cache_dir"),
            ttl_hours=settings.value("cache_ttl_hours"),
            max_size_mb=settings.value("cache_max_size_mb"),
            environ=environ,
        )
    except ClaudeForceError as error:
        return Finding("Cache", one_line(error), PROBLEM)


def _cache(cache: ResponseCache) -> Finding:
    where = home_relative(cache.directory)
    if is_temporary(cache.directory):
        return Finding("Cache", f"only for this session, in {where}", NOTE, "set CLAUDE_FORCE_HOME to keep answers")
    if not cache.directory.is_dir():
        return Finding("Cache", f"none yet, in {where}")
    if not os.access(str(cache.directory), os.W_OK | os.X_OK):
        return Finding(
            "Cache", f"{where} cannot be written", PROBLEM, "set CLAUDE_CACHE_DIR to a folder that you can write to"
        )
    with warnings.catch_warnings(record=True) as caught, cache:
        warnings.simplefilter("always")
        stats = cache.stats()
    if caught:
        return Finding("Cache", one_line(caught[0].message), PROBLEM, "%claude_cache verify")
    size, limit = stats.size_bytes / 1e6, stats.max_size_bytes / 1e6
    return Finding(
        "Cache",
        f"{counted(stats.entries, 'answer')}, {size:,.1f} of {limit:,.0f} MB, in {where}",
    )


def _shared_cache(url: Optional[str], environ: Mapping[str, str]) -> List[Finding]:
    """Check the Redis server that a team shares, if one is set."""
    if not url:
        return []
    subject = "Shared cache"
    try:
        state = look_at_redis(url)
    except ClaudeForceError as error:
        return [Finding(subject, one_line(error), PROBLEM)]
    if state.fault:
        remedy = "start the server, or correct cache_url; until then answers come without it"
        return [Finding(subject, f"{state.name} cannot be used: {one_line(state.fault)}", PROBLEM, remedy)]
    policy = f"maxmemory-policy {state.policy}" if state.policy else ""
    says = ", ".join(part for part in (state.name, state.version, policy) if part)
    if not state.evicts:
        remedy = (
            "set maxmemory and maxmemory-policy allkeys-lru on the server: once it is full, it accepts no new answers"
        )
        return [Finding(subject, says, NOTE, remedy)]
    if find_secrets(None, environ)[0] is None:
        remedy = "set the same CLAUDE_CACHE_SECRET on every machine that uses the server"
        return [
            Finding(
                subject,
                f"{says}; not shared with anybody yet, because this machine signs with its own key",
                NOTE,
                remedy,
            )
        ]
    return [Finding(subject, says)]


def _ledger(path: Path) -> Finding:
    if not path.exists():
        return Finding("Ledger", f"none yet, in {home_relative(path)}")
    total = _last_day(path, "Ledger")
    if isinstance(total, Finding):
        return total
    return Finding("Ledger", f"{dollars(total.cost)} in the last 24 hours, in {home_relative(path)}")


def _local_ledger(path: Path) -> List[Finding]:
    """Check the ledger of answers from the simulator and other servers on this machine, if there is one."""
    if not path.exists():
        return []
    subject = "Local ledger"
    total = _last_day(path, subject)
    if isinstance(total, Finding):
        return [total]
    # The cache's answers are not among the calls.
    answers = (
        f"{counted(total.calls, 'call')} to servers on this machine and {counted(total.hits, 'answer')} from the cache"
    )
    return [
        Finding(subject, f"{answers} in the last 24 hours, counted apart from real spending, in {home_relative(path)}")
    ]


def _last_day(path: Path, subject: str) -> Union[LedgerRow, Finding]:
    """Return the totals of the last 24 hours, or a finding that says why the ledger cannot be used."""
    ledger = Ledger(path)
    try:
        total = ledger.total(since=time.time() - 86400)
    except ClaudeForceError as error:
        return Finding(subject, one_line(error), PROBLEM)
    finally:
        ledger.close()
    if not os.access(str(path), os.W_OK):
        return Finding(subject, f"{home_relative(path)} cannot be written", PROBLEM, "give yourself write access to it")
    return total


def _files(folders: List[Path]) -> Iterator[Tuple[Path, os.stat_result]]:
    for folder in folders:
        try:
            names = [folder, *sorted(folder.iterdir())]
        except OSError:
            continue
        for path in names:
            try:
                yield path, path.lstat()
            except OSError:
                continue


def _permissions(folders: List[Path]) -> Finding:
    if os.name != "posix":
        return Finding("Permissions", "those of the user's profile")
    for path, status in _files(folders):
        if status.st_uid != os.geteuid():
            return Finding(
                "Permissions",
                f"{home_relative(path)} belongs to another user",
                PROBLEM,
                "remove it, or use a folder that belongs to you",
            )
        if stat.S_ISLNK(status.st_mode):
            return Finding(
                "Permissions", f"{home_relative(path)} is a symbolic link", NOTE, "put the file itself there"
            )
    for path, status in _files(folders):
        if status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode):
            return Finding(
                "Permissions", f"others can write {home_relative(path)}", PROBLEM, f"chmod go-rwx {home_relative(path)}"
            )
    for folder in folders:
        if folder.is_dir() and folder.stat().st_mode & 0o077:
            return Finding(
                "Permissions",
                f"others can look into {home_relative(folder)}",
                NOTE,
                f"chmod 700 {home_relative(folder)}",
            )
    return Finding("Permissions", "only you can read and write these files")


def _leftovers(folders: List[Path]) -> Finding:
    found = [path for path, _ in _files(folders) if _LEFTOVER.fullmatch(path.name)]
    now = time.time()
    for path in Path(tempfile.gettempdir()).glob(APPLICATION + "-*"):
        try:
            if path.lstat().st_mtime < now - _OLD_SECONDS:
                found.append(path)
        except OSError:
            continue
    if not found:
        return Finding("Leftovers", "none")
    first = home_relative(found[0])
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Finding("Leftovers", f"{first}{more}", NOTE, "no longer used; check them and remove them")
