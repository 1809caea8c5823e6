"""Parse the front matter of an agent's file: YAML, or the almost-YAML that people write. Pure.

Claude Code's own agents have descriptions such as ``description: Use it when … Examples: <example>…``, over many lines
and with colons, which no YAML parser accepts. Such front matter is read line by line: a line with a known key begins a
value, and the lines after it belong to that value. Each value is parsed as YAML by itself, or else taken as written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any, Dict, List, Optional, Tuple

from claude_force_nb.errors import AgentFileError
from claude_force_nb.messages.text import well_formed

__all__ = ["FrontMatter", "read_front_matter"]

# Keys of Claude Code ("Subagents", section "Supported frontmatter fields"), and our own.
_KEYS = frozenset(
    (
        "name", "description", "tools", "disallowedTools", "model", "permissionMode", "maxTurns", "skills",
        "mcpServers", "hooks", "memory", "background", "effort", "isolation", "color", "initialPrompt", "temperature",
        "max_tokens", "thinking", "cache", "allowed-tools", "allowedTools", "version", "author", "category", "tags",
    )
)  # fmt: skip
# Keys that are recognised in upper and lower case.
_MAIN_KEYS = frozenset(("name", "description", "tools", "model", "color"))
# Words before a colon that begin a line of an example dialogue, and are not keys.
_SPEAKERS = frozenset(
    (
        "user", "assistant", "context", "commentary", "example", "examples", "human", "system", "note", "response",
        "result", "task", "input", "output",
    )
)  # fmt: skip
_KEY_LINE = re.compile(r"([A-Za-z_][\w.-]*)[ \t]*:(?=[ \t]|$)")
_OPENING = re.compile(r"---[ \t]*$")
_CLOSING = re.compile(r"---[ \t]*$")
_LONG_CLOSING = re.compile(r"(-{4,}|—+)[ \t]*$")
_HEADING = re.compile(r"#{1,6}[ \t]")
# The repetitions are bounded, so that matching takes linear time.
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]{0,30})(?:\s[^<>]{0,200})?(/?)>")
_LARGEST = 64 * 1024
# Far more levels than any front matter has. The YAML parser recurses, and without a limit could end the process.
_DEEPEST = 50


@dataclass
class _Entry:
    value: Any
    written: str
    line: int


@dataclass
class _KeyLines:
    """A key and the lines of its value, before the value is parsed."""

    key: str
    line: int
    lines: List[str]


@dataclass
class FrontMatter:
    """The values of a file's front matter by key, and the text below it.

    Attributes
    ----------
    source : str
        Where the file comes from, for errors.
    prompt : str
        The text below the front matter, stripped.
    """

    source: str
    prompt: str
    _entries: Dict[str, _Entry] = field(default_factory=dict)
    _taken: Dict[str, _Entry] = field(default_factory=dict)

    def take(self, key: str) -> Any:
        """Return a value and remove it from `rest`; None if it is not set."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self._taken[key] = entry
        return entry.value

    def written(self, key: str) -> str:
        """Return the value of a key that was taken, as written in the file."""
        return self._taken[key].written

    def rest(self) -> Dict[str, Any]:
        """Return the values that were not taken."""
        return {key: entry.value for key, entry in self._entries.items()}

    def error(self, key: str, problem: str) -> AgentFileError:
        """Return an error for a key that was taken; it names file and line."""
        return AgentFileError(f"{self.source}, line {self._taken[key].line}: {problem}")


def read_front_matter(text: str, source: str) -> FrontMatter:
    """Split a file into front matter and prompt.

    Parameters
    ----------
    text : str
        The whole file; a byte order mark and Windows line ends are ignored.
    source : str
        Where the file comes from, for errors.

    Raises
    ------
    AgentFileError
        If there is front matter without any readable key, or if it uses features of YAML that expand a small text to a
        large one. The message names the line.
    """
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    blank = len(text) - len(text.lstrip("\n"))
    lines = text[blank:].split("\n")
    if not _OPENING.match(lines[0]):
        return FrontMatter(source, text.strip())
    end, after = _end(lines)
    first = blank + 2
    block = dedent("\n".join(lines[1:end])).split("\n")
    if sum(map(len, block)) > _LARGEST:
        raise AgentFileError(f"{source}: the front matter has more than {_LARGEST // 1024} KB")
    entries = _entries_of_yaml(block, source, first)
    if entries is None:
        entries = _entries_of_lines(block, source, first)
    if entries is None:
        raise AgentFileError(f"{source}, line {first}: the front matter must be `key: value` lines")
    return FrontMatter(source, "\n".join(lines[after:]).strip(), entries)


def _end(lines: List[str]) -> Tuple[int, int]:
    """Return the number of the line where the front matter ends, and of the first line below it."""
    inside = _inside_tags(lines)
    for closing in (_CLOSING, _LONG_CLOSING):
        for number, line in enumerate(lines[1:], 1):
            if closing.match(line):
                if _has_body(lines[:number], inside):
                    break
                return number, number + 1
    end = _end_without_mark(lines, inside)
    return end, end


def _has_body(lines: List[str], inside: List[bool]) -> bool:
    """Return whether the supposed closing line is a rule in the prompt, because a heading precedes it, after all keys."""
    heading = 0
    for number, line in enumerate(lines[1:], 1):
        if inside[number]:
            continue
        found = _KEY_LINE.match(line)
        if found and _known(found.group(1)) in _KEYS:
            heading = 0
        elif _HEADING.match(line) and not lines[number - 1].strip():
            heading = number
    return heading > 0


def _end_without_mark(lines: List[str], inside: List[bool]) -> int:
    """Return where unclosed front matter ends: after the value of the last known key, before any heading."""
    last, key = 0, ""
    for number, line in enumerate(lines[1:], 1):
        if inside[number]:
            continue
        if _HEADING.match(line) and not lines[number - 1].strip():
            break
        found = _KEY_LINE.match(line)
        if found and _known(found.group(1)) in _KEYS:
            last, key = number, _known(found.group(1))
    for number in range(last + 1, len(lines)):
        line = lines[number]
        found = _KEY_LINE.match(line)
        if found and _begins(found.group(1), "description"):
            key = found.group(1)
        # Only descriptions may continue in lines that are not indented.
        elif not line.strip() or (key != "description" and line[0] not in " \t-"):
            return number
    return len(lines) if last else 1


# --- YAML


def _entries_of_yaml(block: List[str], source: str, first: int) -> Optional[Dict[str, _Entry]]:
    """Parse the block as YAML, value by value; return None if it is not valid YAML."""
    import yaml

    text = "\n".join(block) + "\n"
    try:
        _check_tokens(text, source, first)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return {}
            if not isinstance(node, yaml.MappingNode):
                return None
            entries: Dict[str, _Entry] = {}
            for key, value in node.value:
                written = text[value.start_mark.index : value.end_mark.index].strip()
                line = first + key.start_mark.line
                entries[_known(well_formed(str(key.value)))] = _Entry(
                    _constructed(loader, value, written), written, line
                )
            return entries
        finally:
            loader.dispose()
    except yaml.YAMLError:
        return None


def _constructed(loader: Any, node: Any, written: str) -> Any:
    """Return a value; if YAML cannot construct it, such as 30 February or a Python object, return the text as written."""
    import yaml

    try:
        return _well_formed(loader.construct_object(node, deep=True))
    except (yaml.YAMLError, ValueError, TypeError, OverflowError):
        return well_formed(written)


def _check_tokens(text: str, source: str, first: int) -> None:
    """Raise AgentFileError if YAML is nested too deeply, or uses aliases, which can expand a small text to a huge one."""
    import yaml

    depth, aliases, anchors = 0, [], set()
    for token in yaml.scan(text):  # the scanner does not recurse
        kind = type(token).__name__
        if kind.startswith(("Flow", "Block")) and kind.endswith(("StartToken", "EndToken")):
            depth += 1 if kind.endswith("StartToken") else -1
            if depth > _DEEPEST:
                raise AgentFileError(f"{source}: the front matter cannot be read: nested too deeply")
        elif isinstance(token, yaml.AnchorToken):
            anchors.add(token.value)
        elif isinstance(token, yaml.AliasToken) and token.value in anchors:
            aliases.append(first + token.start_mark.line)
    if aliases:
        raise AgentFileError(
            f"{source}, line {aliases[0]}: YAML aliases (*name) are not supported; write the value out"
        )


def _well_formed(value: Any) -> Any:
    """Repair lone surrogates, such as from ``"\\ud83d"`` in a file, which cannot be displayed."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    return value


# --- lines


def _entries_of_lines(block: List[str], source: str, first: int) -> Optional[Dict[str, _Entry]]:
    """Read line by line: each known key begins a value. Return None if no known key is found."""
    found_keys: List[_KeyLines] = []
    for number, (line, is_inside) in enumerate(zip(block, _inside_tags(block))):
        match = None if is_inside else _KEY_LINE.match(line)
        if match and _begins(match.group(1), found_keys[-1].key if found_keys else ""):
            found_keys.append(_KeyLines(_known(match.group(1)), first + number, [line]))
        elif found_keys:
            found_keys[-1].lines.append(line)
    entries: Dict[str, _Entry] = {}
    for each in found_keys:
        # Keep the first one: a later one with the same key is a line of an example.
        entries.setdefault(each.key, _entry(each.key, each.line, each.lines, source))
    return entries or None


def _known(key: str) -> str:
    """Return a key in its usual spelling."""
    return key.lower() if key.lower() in _MAIN_KEYS else key


def _begins(key: str, within: str) -> bool:
    """Return whether a line with a key begins a value; inside a description, only if it cannot be part of the description."""
    return _known(key) in _KEYS or within != "description" or (key.islower() and key not in _SPEAKERS)


def _inside_tags(lines: List[str]) -> List[bool]:
    """Return for each line whether it is inside ``<example>`` or a similar tag, after the line with the opening tag."""
    inside = [False] * len(lines)
    opened: Dict[str, List[int]] = {}
    for number, line in enumerate(lines):
        for closing, name, empty in _TAG.findall(line):
            if not closing and not empty:
                opened.setdefault(name, []).append(number)
            elif closing and opened.get(name):
                begin = opened[name].pop()
                inside[begin + 1 : number + 1] = [True] * (number - begin)
    return inside


def _entry(key: str, line: int, lines: List[str], source: str) -> _Entry:
    """Return one value, parsed as YAML, or its text without surrounding quotes if it is not valid YAML."""
    alone = _entries_of_yaml(lines, source, line)
    if alone is not None and list(alone) == [key]:
        return alone[key]
    head = lines[0][lines[0].index(":") + 1 :].strip()
    text = "\n".join([head.lstrip("|>").lstrip("+-") if head[:1] in ("|", ">") else head, *lines[1:]]).strip()
    for quote in ('"', "'"):
        if text.startswith(quote):
            text = text[1:-1] if len(text) > 1 and text.endswith(quote) else text[1:]
            break
    return _Entry(well_formed(text), text, line)
