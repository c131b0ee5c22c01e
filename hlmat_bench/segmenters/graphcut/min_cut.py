"""Minimum cuts on the grid of an image, by convex relaxation.

The binary labelling of least energy (Boykov and Jolly, ICCV 2001) is a threshold of the minimum over soft labellings
(Chan, Esedoglu and Nikolova, SIAM J. Appl. Math. 66, 2006), which the primal-dual algorithm of Chambolle and Pock
(J. Math. Imaging Vis. 40, 2011) approaches, from coarse to fine. It uses no random numbers.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.types import Size

Floats: TypeAlias = NDArray[np.float32]


def cheapest(price: Floats, across: Floats, down: Floats, iterations: int, levels: int = 2) -> Floats:
    """The soft labelling x in [0, 1] that minimises sum(price * x) + sum of weight * |difference of neighbours|.

    Args:
        price: what it costs to label a pixel 1, float32 (h, w); negative where it pays.
        across: weights between horizontal neighbours, float32 (h, w - 1).
        down: weights between vertical neighbours, float32 (h - 1, w).
        iterations: at each scale.
        levels: how often the problem is halved for its start.

    Returns:
        float32 (h, w); above 0.5 is the binary labelling.
    """
    import cv2

    height, width = price.shape
    if levels and min(price.shape) > 40:
        half = (height // 2, width // 2)
        start = cheapest(
            resized(price, half) * 4,
            resized(across, (half[0], half[1] - 1)) * 2,
            resized(down, (half[0] - 1, half[1])) * 2,
            iterations,
            levels - 1,
        )
        grown = cv2.resize(start, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        return _primal_dual(price, across, down, iterations, grown)
    return _primal_dual(price, across, down, iterations, (price < 0).astype(np.float32))


def _primal_dual(price: Floats, across: Floats, down: Floats, iterations: int, x: Floats) -> Floats:
    """Chambolle and Pock's first algorithm with steps 1/2 and 1/4, in place throughout."""
    ahead = x.copy()
    flow_across, flow_down, new = np.zeros_like(across), np.zeros_like(down), np.zeros_like(price)
    for _ in range(iterations):
        flow_across += 0.5 * (ahead[:, 1:] - ahead[:, :-1])
        np.clip(flow_across, -across, across, out=flow_across)
        flow_down += 0.5 * (ahead[1:] - ahead[:-1])
        np.clip(flow_down, -down, down, out=flow_down)
        np.negative(price, out=new)
        new[:, :-1] += flow_across
        new[:, 1:] -= flow_across
        new[:-1] += flow_down
        new[1:] -= flow_down
        new *= 0.25
        new += x
        np.clip(new, 0, 1, out=new)
        np.multiply(new, 2, out=ahead)
        ahead -= x
        x, new = new, x
    return x


def resized(array: NDArray[Any], size: Size) -> NDArray[Any]:
    """Averaged down to (height, width); the array itself where it has that size."""
    import cv2

    if array.shape[:2] == size:
        return array
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA)
