"""The contract check finds each planted fault, and ours keep it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hlmat_bench import testing
from hlmat_bench.cli import app
from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.protocol.plugins import make
from hlmat_bench.testing import contract


class Good:
    """Points at the brightest column of what it sees."""

    name = "good"
    points = PointFormat.named("xypixel")

    async def reply(self, request: Request) -> list[Reply]:
        return [Reply(self.say(request))] * request.n

    def say(self, request: Request) -> str:
        return f"Positive point: ({request.image.sum(axis=(0, 2)).argmax()}, 3)"


class Nameless(Good):
    name = ""


class Formless(Good):
    points = "xypixel"  # type: ignore[assignment]


class Once(Good):
    async def reply(self, request: Request) -> list[Reply]:
        return [Reply(self.say(request))]


class Texts(Good):
    async def reply(self, request: Request) -> list[Reply]:
        return [self.say(request)] * request.n  # type: ignore[list-item]


class Painter(Good):
    def say(self, request: Request) -> str:
        request.image[:2] = 0
        return super().say(request)


class Landscape(Good):
    def say(self, request: Request) -> str:
        if request.image.shape[0] > request.image.shape[1]:
            raise ValueError("too tall")
        return super().say(request)


class Moody(Good):
    count = 0

    def say(self, request: Request) -> str:
        self.count += 1
        return f"Positive point: ({self.count}, 3)"


class Chatty(Good):
    def spec(self) -> dict[str, Any]:
        return {"key": "canary-4711"}


class Batched(Good):
    batch_size = 4

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        return [[Reply(self.say(request))] * request.n for request in requests]


class Shuffled(Batched):
    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        return super().reply_batch(requests)[::-1]


class OneLoop(Good):
    closed = False

    async def reply(self, request: Request) -> list[Reply]:
        if self.closed:
            raise RuntimeError("the client is closed")
        return await super().reply(request)

    async def close(self) -> None:
        self.closed = True


def _broken(kind: str, subject: Any) -> list[str]:
    return [finding.rule for finding in contract.check(kind, subject) if finding.broken is not None]


@pytest.mark.parametrize("model", [Good(), Batched()])
def test_a_model_that_keeps_the_contract(model: Good) -> None:
    assert _broken("model", model) == []


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (Nameless(), "Have a name"),
        (Formless(), "Have a name"),
        (Once(), "Answer a request for n replies"),
        (Texts(), "Answer a request for n replies"),
        (Painter(), "Leave the image"),
        (Landscape(), "Answer requests with wide"),
        (Moody(), "Give the same request"),
        (Chatty(), "Return from spec()"),
        (Shuffled(), "Give requests that are sent together"),
        (OneLoop(), "Allow close()"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Good) else "",
)
def test_each_fault_of_a_model_is_found(model: Good, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "canary-4711")
    assert any(sentence.startswith(rule) for sentence in _broken("model", model))


def test_a_model_may_fail_at_a_shape_and_declare_itself_undeterministic() -> None:
    class Modest(Landscape):
        deterministic = False

        def say(self, request: Request) -> str:
            try:
                return super().say(request)
            except ValueError as error:
                raise RequestFailed("too tall") from error

    assert _broken("model", Modest()) == []


class Masks(testing.DiscSegmenter):
    """A segmenter whose sessions' masks pass through a fault."""

    def fault(self, session: Any, mask: Any) -> Any:
        return mask

    def open(self, image: Any) -> Any:
        session = super().open(image)
        predict = session.predict
        session.predict = lambda clicks, box=None: self.fault(session, predict(clicks, box))
        return session


class Floats(Masks):
    def fault(self, session: Any, mask: Any) -> Any:
        return mask.astype(np.float32)


class Transposed(Masks):
    def fault(self, session: Any, mask: Any) -> Any:
        return mask.T


class Reused(Masks):
    def fault(self, session: Any, mask: Any) -> Any:
        session.memory = mask if not hasattr(session, "memory") else session.memory
        session.memory[...] = mask
        return session.memory


class Drifting(Masks):
    masks = 0

    def fault(self, session: Any, mask: Any) -> Any:
        self.masks += 1
        mask[:, self.masks % mask.shape[1]] ^= True
        return mask


class Forgetless(Masks):
    def fault(self, session: Any, mask: Any) -> Any:
        session.seen = getattr(session, "seen", 0) + 1
        mask[: session.seen] ^= True
        return mask


class Unordered(Masks):
    def open(self, image: Any) -> Any:
        session = super().open(image)
        session.predict_each = lambda candidates, box=None: [session.predict(clicks) for clicks in candidates][::-1]
        return session


class Starts(Masks):
    """A segmenter whose sessions' start masks pass through a fault."""

    def begin(self, session: Any, mask: Any) -> None:
        session.start = mask.copy()

    def open(self, image: Any) -> Any:
        session = super().open(image)
        session.start_from = lambda mask: self.begin(session, mask)
        return session


class Startless(Masks):
    def open(self, image: Any) -> Any:
        return Bare(super().open(image))


class Bare:
    """A session without start_from()."""

    def __init__(self, session: Any) -> None:
        self.predict, self.snapshot, self.restore = session.predict, session.snapshot, session.restore


class Deaf(Starts):
    def begin(self, session: Any, mask: Any) -> None:
        pass


class Eroding(Starts):
    def begin(self, session: Any, mask: Any) -> None:
        session.start = mask & np.roll(mask, 1, axis=1)


class Smearing(Starts):
    def begin(self, session: Any, mask: Any) -> None:
        session.start = mask
        session.predict = lambda clicks, box=None: self.smeared(session, clicks)

    def smeared(self, session: Any, clicks: Any) -> Any:
        if clicks:
            session.start[0, 0] = True
        return session.start.copy()


class Forgetting(Starts):
    def begin(self, session: Any, mask: Any) -> None:
        super().begin(session, mask)
        session.restore = lambda state: session.start.fill(False)


class Inventing(Starts):
    def begin(self, session: Any, mask: Any) -> None:
        session.start = mask.copy() if mask.any() else np.eye(*mask.shape, dtype=bool)


class Vague(Masks):
    accepts_mask = "sometimes"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("segmenter", "rule"),
    [
        (Floats(), "Return masks as bool arrays"),
        (Transposed(), "Return masks as bool arrays"),
        (Reused(), "Leave a mask that was returned"),
        (Drifting(), "Give the same clicks"),
        (Forgetless(), "Return by restore()"),
        (Unordered(), "Give candidates in predict_each"),
        *(
            (fault(), "Start from a given mask")
            for fault in (Startless, Deaf, Eroding, Smearing, Forgetting, Inventing)
        ),
        (Vague(), "Start from a given mask"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Masks) else "",
)
def test_each_fault_of_a_segmenter_is_found(segmenter: Masks, rule: str) -> None:
    assert any(sentence.startswith(rule) for sentence in _broken("segmenter", segmenter))


@pytest.mark.slow
def test_our_segmenters_keep_the_contract(tmp_path: Path) -> None:
    sam = testing.tiny_sam(tmp_path / "sam")
    for spec in ("graphcut", f"sam,pretrained={sam.pretrained}"):
        assert _broken("segmenter", make("segmenter", spec)) == [], spec
    assert _broken("segmenter", testing.DiscSegmenter()) == []


@pytest.mark.slow
def test_our_models_keep_the_contract(tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text('["Positive point: (5, 5)"]')
    vlm = testing.tiny_vlm(tmp_path / "vlm")
    with testing.ChatServer(lambda request, image, prompt: f"Positive point: ({image.sum() % 999}, 5)") as server:
        for spec in (
            f"scripted,file={tmp_path / 'replies.json'}",
            f"hf,pretrained={vlm},points=xypixel,resize=smart",
            f"openai,model=fake,points=xy1000,base_url={server.base_url}",
        ):
            assert _broken("model", make("model", spec)) == [], spec


def test_the_command_line_names_what_is_broken_and_ends_with_1(tmp_path: Path, tool: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from hlmat_bench.interfaces import Reply\nfrom hlmat_bench.points import PointFormat\n"
        "class Mine:\n    name = 'mine'\n    points = PointFormat.named('xy1000')\n"
        "    async def reply(self, request):\n        return [Reply('Finish')]\n"
        "MODELS = {'mine': Mine}\n"
    )
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert "BROKEN Answer a request for n replies" in result.stdout
    assert "asked for 3 replies," in result.stdout
    assert "keeps 7 of 8 rules of a model" in result.stdout
    assert CliRunner().invoke(app, ["check", tool]).exit_code == 0
