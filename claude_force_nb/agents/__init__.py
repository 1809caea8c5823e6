"""Named system prompts.

`library` finds them in the notebook, in the folders of a project and a user, and among those in `builtin/`. Others use `library.AgentLibrary`.
"""
