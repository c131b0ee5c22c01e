"""The errors that a plug-in may raise; see `hlmat_bench.core.errors`."""

from hlmat_bench.core.errors import *  # noqa: F403
