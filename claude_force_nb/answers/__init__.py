"""Answer files: answers beside a notebook, in a file that lies in git like a lock file, so that the notebook runs again anywhere.

`lines` is the format, one line for each answer; `keys` signs lines and checks signatures, with a secret or with `public_keys`; `answer_file` is the file as a store, read
leniently and written whole or not at all, by `disk`; `nearest` says how a question differs from those that the file answers; `misses` counts such questions; `recorded` is what
calls ask, by mode. Others use `AnswerFile` and `RecordedAnswers`. Nothing here imports the SDK, diskcache or SQLite.
"""

from __future__ import annotations

from .answer_file import AnswerFile
from .recorded import RecordedAnswers, asking_from, open_answers

__all__ = ["AnswerFile", "RecordedAnswers", "asking_from", "open_answers"]
