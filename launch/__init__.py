"""Floor 5: commands, run from a checkout. The only place that reads flags."""
