"""Named system prompts.

`library` finds them in the notebook, in the folders of the project and the user, and among those in `builtin/`.
`folders` reads their files, `front_matter` parses a file, and `agent` defines what an agent is. Other rooms use
`Agent`, `AgentLibrary` and `parse_agent`.
"""

from .agent import BUILT_IN, Agent, parse_agent
from .library import AgentLibrary

__all__ = ["BUILT_IN", "Agent", "AgentLibrary", "parse_agent"]
