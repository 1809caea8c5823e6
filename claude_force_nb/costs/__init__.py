"""Money: what a call costs, may cost, and has cost.

`pricing` has the dated price table and `user_prices` what the user lays over it, `bounds` the worst case of a request, `budget` and
`daily_budget` reserve it before a call and settle it after, and `ledger` keeps what every answer cost. Others use `PriceTable`,
`Budget`, `DailyBudget`, `BudgetGroup`, `Ledger`, and the functions of `bounds`, `days` and `reservation`.
"""
