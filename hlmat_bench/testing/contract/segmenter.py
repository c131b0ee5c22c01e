"""The rules for interactive segmenters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core.types import Mask, Size
from hlmat_bench.protocol.interfaces import BatchSession, RefiningSession, Segmenter
from hlmat_bench.testing.contract.rules import SIZES, Broken, Rule, describes_itself, picture


def declares_itself(segmenter: Segmenter) -> None:
    """Have a name, declare whether boxes are accepted, and have a spec()."""
    if not isinstance(getattr(segmenter, "name", None), str) or not segmenter.name:
        raise Broken("it has no name")
    if not isinstance(getattr(segmenter, "accepts_box", None), bool):
        raise Broken("its accepts_box is neither True nor False")
    if not callable(getattr(segmenter, "spec", None)):
        raise Broken("it has no spec()")


def gives_masks_of_the_images_size(segmenter: Segmenter) -> None:
    """Return masks as bool arrays of the image's height and width, for wide, tall and small images."""
    for size in SIZES:
        mask = segmenter.open(picture(size)).predict(_clicks(size)[:1])
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != size:
            seen = f"{mask.dtype} of {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise Broken(f"for an image of {size} it gave {seen}")


def leaves_the_image_alone(segmenter: Segmenter) -> None:
    """Leave the given image unchanged."""
    image = picture(SIZES[0])
    before = image.copy()
    segmenter.open(image).predict(_clicks(SIZES[0]))
    if (image != before).any():
        raise Broken("the image was changed")


def takes_clicks_anywhere(segmenter: Segmenter) -> None:
    """Return masks for positive and negative clicks on every edge and corner, also for a single negative click."""
    height, width = SIZES[0]
    image = picture(SIZES[0])
    for positive in (True, False):
        for x in (0, width // 2, width - 1):
            for y in (0, height // 2, height - 1):
                segmenter.open(image).predict([Click(positive, x, y)])


def takes_boxes_if_it_says_so(segmenter: Segmenter) -> None:
    """Return masks for a box alone and for a box with clicks, if boxes are accepted."""
    if segmenter.accepts_box:
        height, width = SIZES[0]
        box = (width // 8, height // 4, width // 2, height * 3 // 4)
        session = segmenter.open(picture(SIZES[0]))
        _same(session.predict([], box).shape, SIZES[0], "the mask of a box has another size")
        session.predict(_clicks(SIZES[0]), box)


def repeats_itself(segmenter: Segmenter) -> None:
    """Give the same clicks on the same image, one after the other, the same masks again."""
    first, second = (_play(segmenter, SIZES[0]) for _ in range(2))
    _same_masks(first, second, "the second time the masks were different")


def never_changes_a_mask_it_gave(segmenter: Segmenter) -> None:
    """Leave a mask that was returned unchanged when the next mask is predicted."""
    session, clicks = segmenter.open(picture(SIZES[0])), _clicks(SIZES[0])
    first = session.predict(clicks[:1])
    before = first.copy()
    session.predict(clicks)
    _same_masks([first], [before], "the first mask was changed by the next prediction")


def keeps_sessions_apart(segmenter: Segmenter) -> None:
    """Give each of several open images the masks that it gets alone."""
    alone = [_play(segmenter, size) for size in SIZES[:2]]
    sessions = [segmenter.open(picture(size)) for size in SIZES[:2]]
    for count in range(1, len(_clicks(SIZES[0])) + 1):
        for session, size, masks in zip(sessions, SIZES[:2], alone, strict=True):
            mask = session.predict(_clicks(size)[:count])
            _same_masks([mask], [masks[count - 1]], "with another image open, the masks were different")


def takes_back_a_click(segmenter: Segmenter) -> None:
    """Return by restore() to the state of snapshot(): the same next click then gives the same mask."""
    session, clicks = segmenter.open(picture(SIZES[0])), _clicks(SIZES[0])
    session.predict(clicks[:1])
    state = session.snapshot()
    first = session.predict(clicks[:2])
    session.restore(state)
    session.predict([*clicks[:1], clicks[2]])
    session.restore(state)
    _same_masks([session.predict(clicks[:2])], [first], "after restore() the same click gave another mask")


def tries_candidates_as_they_are_alone(segmenter: Segmenter) -> None:
    """Give candidates in predict_each, if there is one, the masks they get alone, and leave the session unchanged."""
    session, clicks = segmenter.open(picture(SIZES[0])), _clicks(SIZES[0])
    if not isinstance(session, BatchSession):
        return
    session.predict(clicks[:1])
    state = session.snapshot()
    candidates = [[clicks[0], click] for click in clicks[1:]] + [clicks]
    together, alone = session.predict_each(candidates), []
    for candidate in candidates:
        alone.append(session.predict(candidate))
        session.restore(state)
    _same_masks(together, alone, "tried together, the masks were different")


def starts_from_masks_if_it_says_so(segmenter: Segmenter) -> None:
    """Start from a given mask, if masks are accepted, also after restore(); treat an empty mask like none."""
    accepts = getattr(segmenter, "accepts_mask", False)
    if not isinstance(accepts, bool):
        raise Broken("its accepts_mask is neither True nor False")
    if not accepts:
        return
    size, clicks = SIZES[0], _clicks(SIZES[0])
    given = _given(size)
    before = given.copy()
    session = _started(segmenter, size, given)
    _same_masks([session.predict([])], [given], "without clicks the mask was not the start mask")
    masks = [session.predict(clicks[:count]).copy() for count in (1, 2)]
    _same_masks([given], [before], "the start mask was changed")
    plain = _play(segmenter, size)
    if all(np.array_equal(mask, other) for mask, other in zip(masks, plain, strict=False)):
        raise Broken("the masks are those without a start mask")
    _same_masks(_retried(segmenter, size, given), masks, "after restore() the masks from the start mask were different")
    empty = _started(segmenter, size, np.zeros(size, np.bool_))
    without = [empty.predict(clicks[:count]).copy() for count in range(1, len(clicks) + 1)]
    _same_masks(without, plain, "from an empty start mask, the masks were not those without one")


def works_in_threads(segmenter: Segmenter) -> None:
    """Return from sessions in several threads the masks that they give alone."""
    alone = [_play(segmenter, size) for size in SIZES]
    with ThreadPoolExecutor(len(SIZES)) as pool:
        together = list(pool.map(lambda size: _play(segmenter, size), SIZES))
    for first, second in zip(alone, together, strict=True):
        _same_masks(first, second, "in threads the masks were different")


RULES: tuple[Rule[Segmenter], ...] = (
    declares_itself,
    describes_itself,
    gives_masks_of_the_images_size,
    leaves_the_image_alone,
    takes_clicks_anywhere,
    takes_boxes_if_it_says_so,
    repeats_itself,
    never_changes_a_mask_it_gave,
    keeps_sessions_apart,
    takes_back_a_click,
    tries_candidates_as_they_are_alone,
    starts_from_masks_if_it_says_so,
    works_in_threads,
)


def _clicks(size: Size) -> list[Click]:
    """Return three clicks: inside the rectangle of `picture`, outside it, inside it."""
    height, width = size
    return [
        Click(True, width // 4, height // 2),
        Click(False, width * 3 // 4, height // 2),
        Click(True, width // 3, height // 3),
    ]


def _play(segmenter: Segmenter, size: Size) -> list[Mask]:
    session, clicks = segmenter.open(picture(size)), _clicks(size)
    return [session.predict(clicks[:count]).copy() for count in range(1, len(clicks) + 1)]


def _given(size: Size) -> Mask:
    """Return a start mask, bool (H, W): the left half of the rectangle of `picture`, and a wrong area outside it."""
    height, width = size
    mask = np.zeros(size, np.bool_)
    mask[height // 4 : height * 3 // 4, width // 8 : width // 3] = True
    mask[: height // 5, width * 3 // 4 :] = True
    return mask


def _started(segmenter: Segmenter, size: Size, mask: Mask) -> RefiningSession:
    session = segmenter.open(picture(size))
    if not isinstance(session, RefiningSession):
        raise Broken("it accepts masks, but its session has no start_from()")
    session.start_from(mask)
    return session


def _retried(segmenter: Segmenter, size: Size, given: Mask) -> list[Mask]:
    """Return the masks after one and two clicks, where another click was tried and undone before each of them."""
    session, clicks, masks = _started(segmenter, size, given), _clicks(size), []
    for count in (1, 2):
        state = session.snapshot()
        session.predict([*clicks[: count - 1], clicks[2]])
        session.restore(state)
        masks.append(session.predict(clicks[:count]).copy())
    return masks


def _same_masks(seen: list[Mask], expected: list[Mask], complaint: str) -> None:
    for one, other in zip(seen, expected, strict=True):
        if (different := int(np.count_nonzero(one != other))) > 1e-4 * one.size:
            raise Broken(f"{complaint} ({different} pixels)")


def _same(seen: object, expected: object, complaint: str) -> None:
    if seen != expected:
        raise Broken(f"{complaint}: {seen}, not {expected}")
