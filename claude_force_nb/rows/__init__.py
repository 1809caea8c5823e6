"""Many prompts at once.

`sources` and `readers` give rows one by one, `run` makes and counts them, `runner` answers them, `results`, `files` and `frames` hold what came
back, `estimate` says what it would cost. Others use `sources.open_source`, `runner` and `results`.
"""
