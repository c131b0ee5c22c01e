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

_ZERO, _ONE, _QUARTER, _EIGHTH = (np.float32(number) for number in (0, 1, 0.25, 0.125))


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
    """Run Chambolle and Pock's first algorithm with steps 1/2 and 1/4 from the start x, and return its result.

    It converges because 1/2 * 1/4 * 8 <= 1: the squared norm of the gradient on a grid is at most 8.
    """
    # The rows stand one after the other in a flat array, with which numpy is faster; where a row ends, the edge to the
    # next pixel has weight 0. Flows, weights and prices are divided by 4, which is exact, and all steps write to
    # existing arrays: both make the loop shorter.
    width, cost, x = price.shape[1], (price * _QUARTER).ravel(), x.flatten()
    most = [(np.pad(across, ((0, 0), (0, 1))) * _QUARTER).ravel(), (np.pad(down, ((0, 1), (0, 0))) * _QUARTER).ravel()]
    new, step, ahead = np.empty_like(x), np.empty_like(x), x * _EIGHTH
    edges = [
        (away, ahead[away:], ahead[:-away], step[away:], np.zeros_like(x), -up_to, up_to)
        for away, up_to in zip((1, width), most, strict=True)
    ]
    for _ in range(iterations):
        np.negative(cost, out=new)
        for away, there, here, change, flow, low, high in edges:
            sent, arrived = flow[:-away], new[away:]
            sent += np.subtract(there, here, out=change)
            np.minimum(np.maximum(flow, low, out=flow), high, out=flow)
            new += flow
            arrived -= sent
        new += x
        np.minimum(np.maximum(new, _ZERO, out=new), _ONE, out=new)
        # An eighth of where the step leads when it is made once more.
        np.multiply(new, _QUARTER, out=ahead)
        ahead -= np.multiply(x, _EIGHTH, out=step)
        x, new = new, x
    return x.reshape(price.shape)


def resized(array: NDArray[Any], size: Size) -> NDArray[Any]:
    """Return an array averaged down to (height, width); the array itself where it already has this size."""
    import cv2

    if array.shape[:2] == size:
        return array
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA)
