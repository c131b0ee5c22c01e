"""The levels at which an entry of the leaderboard is verified."""
