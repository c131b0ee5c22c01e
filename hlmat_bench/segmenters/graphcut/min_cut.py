"""Minimum cuts on the grid of an image, by convex relaxation.

The binary labelling of least energy (Boykov and Jolly, ICCV 2001) is a threshold of the soft labelling of least energy
(Chan, Esedoglu and Nikolova, SIAM J. Appl. Math. 66, 2006). The primal-dual algorithm of Chambolle and Pock (J. Math.
Imaging Vis. 40, 2011) approaches it, from coarse to fine. It uses no random numbers.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.types import Size

FloatMap: TypeAlias = NDArray[np.float32]


def cheapest(price: FloatMap, across: FloatMap, down: FloatMap, iterations: int, levels: int = 2) -> FloatMap:
    """Return the x in [0, 1] that minimises sum(price * x) + sum(weight * |difference of neighbours|).

    Args:
        price: the cost of the label 1 per pixel, float32 (h, w); negative where the label 1 is preferred.
        across: weights between horizontal neighbours, float32 (h, w - 1).
        down: weights between vertical neighbours, float32 (h - 1, w).
        iterations: the number of iterations at every scale.
        levels: how often the problem is halved to find a start.

    Returns:
        float32 (h, w); the binary labelling is where it exceeds 0.5.
    """
    import cv2

    height, width = price.shape
    if levels and min(price.shape) > 40:
        # The coarse solution is a good start, so few iterations suffice. A coarse pixel represents four fine ones, and
        # an edge between two coarse pixels two fine edges: hence the factors 4 and 2.
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


def _primal_dual(price: FloatMap, across: FloatMap, down: FloatMap, iterations: int, x: FloatMap) -> FloatMap:
    """Run Chambolle and Pock's first algorithm with steps 1/2 and 1/4 from the start x, and return its result."""
    # The algorithm converges because 1/2 * 1/4 * 8 <= 1: the squared norm of the gradient on a grid is at most 8. All
    # steps write to existing arrays, because allocating new ones in this loop takes time.
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
    """Return an array averaged down to (height, width); the array itself where it already has this size."""
    import cv2

    if array.shape[:2] == size:
        return array
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA)
