"""Money: what a call costs, may cost, and has cost.

`pricing` has the dated price table, `bounds` the worst case of a request, `budget` and `daily_budget` reserve it before a call and settle it after,
`ledger` keeps every answer. Others use `PriceTable`, `Budget`, `DailyBudget`, `Ledger` and `bounds`.
"""
