"""Named system prompts.

`library` finds them in the notebook, in the folders of a project and a user, and among those in `builtin/`; `folders` reads their files, `front_matter` takes a
file apart, `agent` says what one is. Others use `Agent`, `AgentLibrary` and `parse_agent`.
"""

from .agent import BUILT_IN, Agent, parse_agent
from .library import AgentLibrary

__all__ = ["BUILT_IN", "Agent", "AgentLibrary", "parse_agent"]
