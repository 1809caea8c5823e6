"""Money: what a call costs, may cost, and has cost.

`pricing` has the dated price table, `user_prices` the user's own prices. `bounds` computes the worst case of a request;
`budget` and `daily_budget` reserve it before a call and settle the real cost afterwards. `ledger` records what every
answer cost. Other rooms use `PriceTable`, `Budget`, `DailyBudget`, `BudgetGroup`, `Ledger`, and the functions of
`bounds`, `days` and `reservation`.
"""
