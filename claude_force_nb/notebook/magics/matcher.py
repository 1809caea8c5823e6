"""The matcher that IPython calls on Tab. It imports the completion code on first use, to keep loading the extension fast."""

from __future__ import annotations

from typing import Any, Callable, List

from .claude_magics import ClaudeMagics

__all__ = ["make_matcher"]


def make_matcher(magics: ClaudeMagics, completer: Any) -> Callable[..., Any]:
    """Return a matcher for ``completer.custom_matchers`` that suppresses all others when it has completions."""
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:  # IPython before 8.6: a matcher gets only the word; the line is in the completer

        def old_matcher(word: str) -> List[str]:
            from .completion import complete

            line = completer.text_until_cursor
            try:
                found = complete(magics, line, _before_cursor(completer.shell, line))
            except Exception:  # as below; IPython would print the error
                return []
            return [word] if found == [] else found or []

        return old_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def claude_matcher(context: Any) -> Any:
        from .completion import complete

        lines = context.full_text.split("\n")
        before = "\n".join([*lines[: context.cursor_line], context.text_until_cursor])
        try:
            found = complete(magics, context.text_until_cursor, before)
        except Exception:  # an unreadable setting, or a user's object that fails on attribute access
            found = None
        if found == []:
            # IPython suppresses other matchers only if there is a completion, so offer the word itself.
            found = [context.token]
        completions = [SimpleCompletion(text=item, type="magic") for item in found or ()]
        # Keep our order: aliases before full names, newest first.
        return {"completions": completions, "suppress": found is not None, "ordered": True}

    return claude_matcher  # type: ignore[no-any-return]


def _before_cursor(shell: Any, line: str) -> str:
    """Return the cell up to the cursor, from the front end's message, since older IPythons keep only the line."""
    message: Any = getattr(shell, "get_parent", dict)()
    content = message.get("content") or {}
    code, at = content.get("code"), content.get("cursor_pos")
    before = code[:at] if isinstance(code, str) and isinstance(at, int) else line
    return before if before.endswith(line) else line
