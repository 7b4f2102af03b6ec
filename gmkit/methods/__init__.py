"""Floor 4: one room per paper. Each has `build(config, spec) -> Method`."""
