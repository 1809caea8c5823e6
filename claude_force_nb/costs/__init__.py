"""Money: what a call costs, may cost, and has cost.

`pricing` has the dated price table, `user_prices` the user's own prices, and `bounds` the worst case of a request, which `budget` and
`daily_budget` reserve before a call and settle after it. `ledger` records what every answer cost. Others use `PriceTable`,
`Budget`, `DailyBudget`, `BudgetGroup`, `Ledger`, and the functions of `bounds`, `days` and `reservation`.
"""
