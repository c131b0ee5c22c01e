"""Playing a task: the engine, the folder of a run, resuming, shards, replay, suites, the probe."""
