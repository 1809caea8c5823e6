"""The way to the Messages API.

`transport` sends a request through the SDK, `stream` and `answer` read what comes back, `failures` makes every foreign error one of ours, `pacing` and
`retry` decide when a call may leave. Others use `SdkTransport`, `Slots`, `Lanes` and `SdkBatches`; no SDK object leaves this room.
"""
