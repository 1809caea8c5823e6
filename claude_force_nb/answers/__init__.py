"""Answer files: answers beside a notebook, in a file to commit to git like a lock file, so that the notebook runs again anywhere.

`lines` defines the format, one line per answer. `keys` signs lines and checks signatures, with a secret or with
`public_keys`. `answer_file` is the file as a store; `disk` reads it leniently and writes it completely or not at all.
`nearest` describes how a request differs from those that the file answers, and `misses` counts such requests.
`recorded` is the interface for calls, with its modes. Other rooms use `AnswerFile` and `RecordedAnswers`. Nothing here
imports the SDK, diskcache or SQLite.
"""

from __future__ import annotations

from .answer_file import AnswerFile
from .recorded import RecordedAnswers, asking_from, open_answers

__all__ = ["AnswerFile", "RecordedAnswers", "asking_from", "open_answers"]
