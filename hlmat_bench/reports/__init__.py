"""Pages: of runs, of comparisons, of the leaderboard."""
