"""Tasks, the layouts of data sets, the embedded scenes, imperfect masks, and checks of data."""
