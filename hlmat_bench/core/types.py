"""The arrays and numbers that the parts of the package exchange: images, masks, sizes and boxes.

Axis order and units, everywhere in this package: images are ``uint8`` arrays of shape (H, W, 3) in
RGB; masks are ``bool`` arrays of shape (H, W); a point is ``(x, y)`` in pixels of the original image,
origin at the top left, x to the right; a box is ``(x0, y0, x1, y1)`` in the same pixels; a size is
``(height, width)``.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]
Size: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[int, int, int, int]
