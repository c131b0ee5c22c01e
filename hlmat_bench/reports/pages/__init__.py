"""Static pages: what the reports of runs and the leaderboard share.

A folder of pages opens from a double click and needs no network. Everything in it that comes from a run or from a
stranger passes `text`, is put into templates that escape by `templates`, into data files by `data`, and is written by
`site`; `plots` draws.
"""
