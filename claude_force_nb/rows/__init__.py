"""Many prompts at once.

`sources` and `readers` give rows one by one (`csv_dialect` finds how a CSV file is written), `run` makes and counts them, `runner` answers them, `results`, `files`, `parquet` and `frames` hold what came
back, `estimate` says what it would cost. Others use `sources.open_source`, `runner` and `results`.
"""
