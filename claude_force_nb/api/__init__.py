"""The way to the Messages API: transport, pacing, retry."""
