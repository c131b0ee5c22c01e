"""The rules for models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.core.types import Size
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import BatchModel, Model, Reply, Request, close, traits
from hlmat_bench.protocol.prompts import DEFAULT_PROMPT, instruction
from hlmat_bench.testing.contract.rules import SIZES, Broken, Rule, describes_itself, picture


def declares_itself(model: Model) -> None:
    """Have a name, a point format and, if there is one, a resize rule."""
    if not isinstance(getattr(model, "name", None), str) or not model.name:
        raise Broken("it has no name")
    if not isinstance(getattr(model, "points", None), PointFormat):
        raise Broken("its points are not a PointFormat; write for example points = PointFormat.named('xy1000')")
    if not isinstance(traits(model).resize, Resize):
        raise Broken("its resize is not a Resize; write for example resize = Resize.named('fit-long1568')")


def answers_as_often_as_asked(model: Model) -> None:
    """Answer a request for n replies with a list of n replies, each with a text."""
    for n in (1, 3):
        [replies] = _ask(model, [_question(model, n=n, temperature=0.0 if n == 1 else 1.0)])
        if not isinstance(replies, list) or len(replies) != n:
            raise Broken(f"asked for {n} replies, it gave {replies!r:.80}")
        for reply in replies:
            if not isinstance(reply, Reply) or not isinstance(reply.text, str):
                raise Broken(f"it gave {reply!r:.80}, not a Reply with a text")


def leaves_the_image_alone(model: Model) -> None:
    """Leave the image of a request unchanged."""
    question = _question(model)
    before = question.image.copy()
    _ask(model, [question])
    if (question.image != before).any():
        raise Broken("the image was changed")


def takes_images_of_any_shape(model: Model) -> None:
    """Answer requests with wide, tall and small images, or raise RequestFailed."""
    for size in SIZES:
        try:
            _ask(model, [_question(model, size)])
        except RequestFailed:
            continue


def repeats_itself(model: Model) -> None:
    """Give the same request at temperature 0 the same reply, or declare deterministic = False."""
    if traits(model).deterministic:
        first, second = (_texts(model, [_question(model)]) for _ in range(2))
        if first != second:
            raise Broken(f"it said {first[0]!r:.60} and then {second[0]!r:.60}; declare deterministic = False")


def keeps_questions_apart(model: Model) -> None:
    """Give requests that are sent together the replies that they get one by one, in their order."""
    if not traits(model).deterministic:
        return
    questions = [_question(model, size, seed) for seed, size in enumerate(SIZES)]
    alone = [_texts(model, [question])[0] for question in questions]
    if (together := _texts(model, questions)) != alone:
        raise Broken(f"alone it said {alone!r:.80}, together {together!r:.80}")


def can_be_asked_again_in_another_event_loop(model: Model) -> None:
    """Allow close() to be called twice, and requests afterwards: every run has an event loop of its own."""

    async def closed_twice() -> None:
        await close(model)
        await close(model)

    for _ in range(2):
        _ask(model, [_question(model)])
        asyncio.run(closed_twice())


RULES: tuple[Rule[Model], ...] = (
    declares_itself,
    describes_itself,
    answers_as_often_as_asked,
    leaves_the_image_alone,
    takes_images_of_any_shape,
    repeats_itself,
    keeps_questions_apart,
    can_be_asked_again_in_another_event_loop,
)


def _question(model: Model, size: Size = SIZES[0], seed: int = 0, n: int = 1, temperature: float = 0.0) -> Request:
    image = traits(model).resize.apply(picture(size, seed))
    prompt = instruction(
        DEFAULT_PROMPT,
        expression="the red rectangle",
        points=model.points,
        size=size,
        frame=traits(model).resize.frame(size),
    )
    return Request(image, prompt, n=n, temperature=temperature, max_tokens=32, sample_id=f"check/{seed}")


def _ask(model: Model, questions: Sequence[Request]) -> list[list[Reply]]:
    """Return the replies to simultaneous requests in a new event loop, in which the model is also closed."""

    async def life() -> list[list[Reply]]:
        try:
            return await _asked(model, questions)
        finally:
            await close(model)

    return asyncio.run(life())


async def _asked(model: Model, questions: Sequence[Request]) -> list[list[Reply]]:
    """Return the replies to simultaneous requests, in one batch if the model accepts batches.

    If one of them fails, the others are still awaited, because the caller then closes the model.
    """
    answers: Sequence[list[Reply] | BaseException]
    if isinstance(model, BatchModel):
        answers = model.reply_batch(questions)
    else:
        answers = await asyncio.gather(*(model.reply(question) for question in questions), return_exceptions=True)
    return [_replies(answer) for answer in answers]


def _replies(answer: list[Reply] | BaseException) -> list[Reply]:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _texts(model: Model, questions: Sequence[Request]) -> list[str]:
    return [replies[0].text for replies in _ask(model, questions)]
