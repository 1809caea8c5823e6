"""One prompt on its way.

`compose` makes a request of a prompt and its options, `caller` sends it with budget, slot and retries, `recorder` writes what came back, `events` and
`snapshot` tell what goes on, `controls` pause and stop it. Others use `options.CallOptions`, `events` and `snapshot`.
"""
