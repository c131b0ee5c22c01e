"""One environment for every trainer: episodes played by the rules of a run, and rewards for what they came to."""
