"""Many prompts at once.

`opening` turns a value into a `sources.Source`, whose rows `readers` read one by one (`csv_dialect` detects how a CSV
file is written). `run` turns the rows into requests and counts them, `runner` answers them, `results`, `files`,
`parquet` and `frames` hold the results, and `estimate` estimates the cost. Other rooms use `opening.open_source`,
`runner` and `results`.
"""
