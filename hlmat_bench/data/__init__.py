"""What is annotated: tasks, the layouts of data sets, the embedded scenes, imperfect masks, checks of data."""
