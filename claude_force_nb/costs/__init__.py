"""Money: the price table, the ledger of every answer, budgets that are reserved before a call and settled after it."""
