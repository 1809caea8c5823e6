"""The code in an answer."""

from __future__ import annotations

from claude_force_nb.messages.code import CodeBlock, code_blocks
from claude_force_nb.messages.result import ClaudeResult


def test_blocks_with_their_language() -> None:
    """As CommonMark has them: in lists and quotes, with longer fences and tildes, and where the text ends within one."""
    text = (
        "Say `x = 1` or:\n\n```Python title=a\nx = 1\n\ny = '```'\n```\n- in a list\n  ```sh\n  ls\n  ```\n\n> ~~~~\n> ```\n> ~~~~\n\n"
        "    indented\n\n````md\n```py\n1\n```\n````\n\n```sql\nselect"
    )
    assert ClaudeResult(text=text).code == (
        CodeBlock("python", "x = 1\n\ny = '```'"),
        CodeBlock("sh", "ls"),
        CodeBlock("", "```"),
        CodeBlock("md", "```py\n1\n```"),
        CodeBlock("sql", "select"),
    )
    assert str(ClaudeResult(text=text).code[1]) == "ls"


def test_no_code() -> None:
    """Prose, and ticks within a line, hold none."""
    for text in ("", "no code", "a ``` b ``` c", "`x`"):
        assert code_blocks(text) == ()
