"""Clicks, and the oracle that computes the best next click from the ground truth.

The oracle is the click simulator of interactive segmentation (RITM, https://arxiv.org/abs/2102.06583, and
its successors): it clicks the middle of the largest error. `next_click` states its rule, exact to the pixel.
Depths are compared as squared integers, so that rounding never decides between equal depths.
`clicks/deepest.py` finds the deepest pixel fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from numpy.typing import ArrayLike

from hlmat_bench.core import masks


class Click(NamedTuple):
    """A click on the original image: positive or negative, at pixel (x, y), origin at the top left, x to the right."""

    positive: bool
    x: int
    y: int


class Oracle:
    """The simulated annotator of one object: it has the ground truth and corrects masks by clicks.

    Args:
        gt: the mask of the object, bool (H, W).
        ignore: pixels that never count as errors, bool (H, W), or None.

    Raises:
        UsageError: when these arrays are no masks of one shape.
    """

    def __init__(self, gt: ArrayLike, ignore: ArrayLike | None = None) -> None:
        truth, *ignored = masks.binary(gt) if ignore is None else masks.binary(gt, ignore)
        self.shape = truth.shape
        self._gt = masks.pack(truth)
        self._counted = [~masks.pack(pixels) for pixels in ignored]

    def next_click(self, mask: ArrayLike, *, clicked: Iterable[Click] = ()) -> Click | None:
        """Return the click that corrects a mask best, or None when the mask has no error left; see `next_click`.

        Args:
            mask: the mask to correct, bool (H, W).
            clicked: the clicks so far.

        Raises:
            UsageError: when ``mask`` is no mask of the ground truth's shape.
        """
        from hlmat_bench.clicks.deepest import ErrorRegion

        found = masks.pack(masks.of_shape(mask, self.shape))
        errors = self._gt ^ found
        for counted in self._counted:
            errors &= counted
        if (box := masks.bounding_box(errors)) is None:
            return None
        taken = [(click.y, click.x) for click in clicked]
        missed, wrong = (ErrorRegion(errors, side, box, taken) for side in (self._gt, found))
        # The region that may be deeper comes first: a known depth lets the other region skip what cannot exceed it.
        if missed.bound > wrong.bound:
            first = missed.deepest(0)
            second = wrong.deepest(first.depth)
        else:
            second = wrong.deepest(0)
            first = missed.deepest(second.depth)
        positive = first.depth > second.depth
        spot = first if positive else second
        return Click(positive, spot.x, spot.y) if spot.depth else None


def next_click(
    gt: ArrayLike, mask: ArrayLike, *, ignore: ArrayLike | None = None, clicked: Iterable[Click] = ()
) -> Click | None:
    """Return the oracle's click for a mask. To correct many masks of one object, keep an `Oracle`.

    False negatives and false positives are two regions. In both, the depth of a pixel is its Euclidean distance to
    the nearest pixel outside the region (pixels beyond the image count as outside), and 0 where a click already was.
    The deepest pixel is clicked: with a positive click if it is a false negative, with a negative click if it is a
    false positive or if both regions are equally deep. Among equally deep pixels of a region, the topmost is clicked,
    then the leftmost.

    Args:
        gt: the mask of the object, bool (H, W).
        mask: the mask to correct, bool (H, W).
        ignore: pixels that never count as errors, bool (H, W), or None.
        clicked: the clicks so far.

    Returns:
        The click, or None when the mask has no error left.

    Raises:
        UsageError: when these arrays are no masks of one shape.
    """
    return Oracle(gt, ignore).next_click(mask, clicked=clicked)
