"""All readers of foreign input, in one table."""

from __future__ import annotations

from tests.fuzz import answers, data_sets, downloads, run_files

TARGETS = (*answers.TARGETS, *data_sets.TARGETS, *downloads.TARGETS, *run_files.TARGETS)
