"""One prompt, from its options to a recorded answer.

`options` and `composer` make a request of a prompt, `answer` finds or makes its answer: from the cache, from a call that is under way, or through
`caller`, which sends it with budget, slot and retries and has `recorder` write what came back. A `call.Call` is the request with all that belongs
to it, and its `status` says what it waits for. `events` and `snapshot` tell what goes on, `controls` pause and stop it, `settings` groups what an
orchestrator is told once. Others use `options.CallOptions`, `call`, `status`, `events`, `settings` and `snapshot`.
"""
