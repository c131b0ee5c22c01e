"""Write pages about runs, comparisons and the leaderboard."""
