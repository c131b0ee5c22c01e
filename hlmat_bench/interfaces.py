"""What a plug-in implements and exchanges with the engine; see `hlmat_bench.protocol.interfaces`."""

from hlmat_bench.core.types import *  # noqa: F403
from hlmat_bench.protocol.interfaces import *  # noqa: F403
