"""Values of a notebook as data: what they become in a prompt, their fences, and phrases in them. Pure."""
