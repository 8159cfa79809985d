"""Who sends what to whom in an epoch: pure schedules, graphs and shares."""
