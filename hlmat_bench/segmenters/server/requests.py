"""What the segmenter server is sent, and what it refuses: every body is checked before a segmenter sees it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from pydantic import Field

from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Box, Image, Mask, Size
from hlmat_bench.core.validation import Exact, Misfit, checked

PROTOCOL = "hlmat-segmenter/1"
MOST_JSON_BYTES = 4 << 20
MOST_CALLS = 1000


class Refused(Exception):
    """A request that is not carried out.

    Args:
        status: the status of the HTTP response.
        code: a word for programs.
        message: a sentence for people.
        headers: further headers of the response.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


class Call(Exact):
    """One prediction.

    Attributes:
        clicks: all clicks of the episode, oldest first; each is [positive, x, y].
        box: [x0, y0, x1, y1], or null.
    """

    clicks: tuple[tuple[bool, int, int], ...] = Field(max_length=MOST_CALLS)
    box: Box | None = None

    def as_clicks(self) -> list[Click]:
        """Return the clicks as a segmenter takes them."""
        return [Click(*click) for click in self.clicks]


class PredictBody(Exact):
    """The body of ``predict``: all predictions that lead to the mask that is wanted, the wanted one last."""

    calls: tuple[Call, ...] = Field(min_length=1, max_length=MOST_CALLS)


class PredictEachBody(Exact):
    """The body of ``predict_each``: all predictions so far, and what each candidate would ask next."""

    calls: tuple[Call, ...] = Field(max_length=MOST_CALLS)
    candidates: tuple[Call, ...] = Field(min_length=1, max_length=MOST_CALLS)


class Runs(Exact):
    """A mask as COCO's run-length encoding; see `hlmat_bench.core.masks`."""

    size: tuple[int, int]
    counts: str


class StartFromBody(Exact):
    """The body of ``start_from``: the mask that the session's first prediction continues from."""

    mask: Runs


B = TypeVar("B", bound=Exact)


def read_json(body: bytes, form: type[B]) -> B:
    """Return a JSON body as a value of the given form.

    Raises:
        Refused: 400 for what is no JSON, 422 for JSON of another form.
    """

    def refused(misfit: Misfit) -> Refused:
        if misfit.kind == "json_invalid":
            return Refused(400, "not_json", f"The body is not JSON: {misfit.message}.")
        return Refused(422, "bad_request", f"In {misfit.sentence('the body')}.")

    return checked(form.model_validate_json, body, refused)


def read_png(body: bytes, most_pixels: int) -> Image:
    """Return the pixels of a PNG file, uint8 (H, W, 3) RGB.

    Args:
        body: the file.
        most_pixels: larger images are refused by what the file's header says, before anything is unpacked.

    Raises:
        Refused: 413 for too many pixels, 415 for what is no PNG or of other colours, 422 for a damaged one.
    """
    from PIL import Image as Pillow

    message = f"The image has more than {most_pixels / 1e6:g} megapixels; --max-megapixels allows larger ones."
    too_many_pixels = Refused(413, "too_large", message)
    try:
        picture = Pillow.open(io.BytesIO(body), formats=["PNG"])
    except Pillow.DecompressionBombError as error:
        raise too_many_pixels from error
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(415, "not_an_image", "The body is not a PNG file.") from error
    if picture.width * picture.height > most_pixels:
        raise too_many_pixels
    if picture.mode != "RGB":
        raise Refused(415, "not_rgb", f"The PNG file is {picture.mode}; send one of 8-bit RGB, without transparency.")
    try:
        return np.array(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(422, "damaged_image", f"The PNG file is damaged: {error}.") from error


def read_mask(runs: Runs, size: Size) -> Mask:
    """Return the mask that a body holds, bool (H, W), for an image of (height, width).

    Raises:
        Refused: 422 when it is of another size, which is checked before anything is unpacked, or no valid encoding.
    """
    if runs.size != size:
        raise Refused(422, "mask_size", f"The mask is of (height, width) {runs.size}, the image of {size}.")
    try:
        return masks.decode(runs.model_dump())
    except UsageError as error:
        raise Refused(422, "bad_mask", str(error)) from error


def check_calls(calls: Iterable[Call], size: Size, *, accepts_box: bool) -> None:
    """Check that clicks and boxes lie in an image of (height, width).

    Raises:
        Refused: 422 when one does not, or when there is a box for a segmenter that takes none.
    """
    height, width = size
    image = f"the image of {width} x {height} pixels"
    for call in calls:
        for _, x, y in call.clicks:
            if not (0 <= x < width and 0 <= y < height):
                raise Refused(422, "click_outside", f"The click ({x}, {y}) is outside of {image}.")
        if call.box is None:
            continue
        if not accepts_box:
            raise Refused(422, "no_boxes", "This segmenter takes clicks, no box.")
        x0, y0, x1, y1 = call.box
        if not (0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height):
            raise Refused(422, "box_outside", f"The box {list(call.box)} is not [x0, y0, x1, y1] in {image}.")
