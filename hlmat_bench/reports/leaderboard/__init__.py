"""The leaderboard: entries made from runs, their verification, and the pages that rank them."""
