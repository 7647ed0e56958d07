"""Who gets the next sample: policies, waves, budgets, forecasts."""
