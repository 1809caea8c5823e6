"""The network: sending one call to the API, and deciding when it may be sent.

`transport` sends one call without retries, over aiohttp or through the SDK; `batches` does the same for Message
Batches. `failures` converts every foreign exception to one of ours, `reading` and `decoding` read responses within
limits, and `stream` combines the events of a stream. `pacing` and `limits` decide when a call may be sent, `retry`
whether to try again. No other room imports the SDK.
"""
