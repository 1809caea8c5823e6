"""One prompt, from its options to a recorded answer.

`options` and `composer` turn a prompt into a request. `answer` gets its answer: from the cache, from an equal call in
flight, or through `caller`, which sends it with budget, slot and retries, and lets `recorder` write the result. A
`call.Call` is a request with everything that belongs to it; its `status` says what it is waiting for. `events` and
`snapshot` report progress, `controls` pauses and stops calls, and `settings` groups the arguments of an orchestrator.
Other rooms use `options.CallOptions`, `call`, `status`, `events`, `settings` and `snapshot`.
"""
