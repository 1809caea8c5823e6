"""The network: sending one call to the API, and deciding when it may be sent.

`transport` sends one call without retries, over aiohttp or through the SDK; `batches` does the same for Message Batches. `failures`
turns every foreign exception into one of ours, `reading` and `decoding` bound what comes back, `stream` puts events together.
`pacing` and `limits` say when a call may leave, `retry` whether another try makes sense. Nothing else imports the SDK.
"""
