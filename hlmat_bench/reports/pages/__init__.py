"""Static pages: the common parts of the reports of runs and of the leaderboard.

A folder of pages opens by a double click and needs no network. Everything that comes from a run or from a submitter
passes `core.text`; `templates` escapes it in pages, `data` writes it into data files, `plots` draws it, and `site`
writes the folder.
"""
