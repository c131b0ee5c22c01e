"""How many workers there are and which images they get, without Ray running."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.ray.executor import WorkerPlan
from hlmat_bench.runs.ray.image_queue import MOST_DEATHS, Image, ImageQueue
from hlmat_bench.runs.writer import RunWriter


@pytest.mark.parametrize(
    ("there", "asked", "found"),
    [
        ({"CPU": 64, "GPU": 8}, (None, None), (8, 8, 1)),
        ({"CPU": 64, "GPU": 8}, (None, 2), (4, 16, 2)),
        ({"CPU": 64, "GPU": 8}, (None, 0.5), (16, 4, 0.5)),
        ({"CPU": 64, "GPU": 8}, (None, 0), (32, 2, 0)),
        ({"CPU": 16, "GPU": 2}, (3, None), (3, 5, 0.5)),
        ({"CPU": 16, "GPU": 2}, (7, None), (7, 2, 0.25)),
        ({"CPU": 16, "GPU": 1}, (3, None), (3, 5, 0.3333)),
        ({"CPU": 16, "GPU": 4}, (2, None), (2, 8, 1)),
        ({"CPU": 5}, (None, None), (2, 2, 0)),
        ({"CPU": 1}, (None, None), (1, 1, 0)),
        ({"CPU": 2}, (4, None), (4, 0, 0)),
    ],
)
def test_workers_of_one_machine(
    there: dict[str, float], asked: tuple[int | None, float | None], found: tuple[int, float, float]
) -> None:
    plan = WorkerPlan.of(there, *asked, local=True)
    assert (plan.count, plan.cpus, plan.gpus) == found


@pytest.mark.parametrize(
    ("there", "asked", "message"),
    [
        ({"CPU": 8, "GPU": 2}, (3, 1), "3 workers with 1 GPUs each do not fit .* has 2 GPUs"),
        ({"CPU": 8}, (None, 1), "1 workers with 1 GPUs each do not fit .* has 0 GPUs"),
        ({"CPU": 8, "GPU": 2}, (None, 4), "do not fit"),
        ({"CPU": 8, "GPU": 2}, (5, 0.5), "do not fit"),
        ({"CPU": 8, "GPU": 2}, (None, 1.5), "a whole number, or less than 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    there: dict[str, float], asked: tuple[int | None, float | None], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        WorkerPlan.of(there, *asked, local=True)


def test_a_cluster_may_grow() -> None:
    assert WorkerPlan.of({"CPU": 8, "GPU": 2}, 16, 1, local=False) == WorkerPlan(16, 0, 1)


@pytest.fixture
def writer(tmp_path: Path, task: str) -> RunWriter:
    """Return the writer of a run of 20 images with two expressions each."""
    setup = RunSpec("oracle", task).open()
    return RunWriter.of(tmp_path / "run", setup, setup.manifest())


def test_whole_images_are_dealt_in_order_and_once(writer: RunWriter) -> None:
    with writer:
        queue = ImageQueue([writer])
        dealt: list[Image] = []
        while (image := queue.take([])) is not None:
            dealt.append(image)
        assert [key for image in dealt for key in image.left] == [sample.id for sample in writer.todo()]
        assert {len({sample.image_id for sample in image.left.values()}) for image in dealt} == {1}
        assert not queue.finished, "they are under way"
        for image in dealt:
            for key in list(image.left):
                queue.played(image, key)
            queue.ended(image)
        assert queue.finished


def test_the_images_of_a_dead_worker_are_played_alone_and_before_others(writer: RunWriter) -> None:
    with writer:
        queue = ImageQueue([writer])
        first, second = queue.take([]), queue.take([])
        assert first is not None
        assert second is not None
        queue.lost([first, second], suspected=True)
        busy = queue.take([Image(0, {}, 99)])
        assert busy is not None
        assert busy.deaths == 0, "a worker that plays other images does not get a suspect"
        alone = queue.take([])
        assert alone in (first, second)
        assert alone is not None
        assert queue.take([alone]) is None, "nothing is played beside a suspect"


def test_a_machine_that_went_away_is_no_image_s_fault(writer: RunWriter) -> None:
    with writer:
        queue = ImageQueue([writer])
        image = queue.take([])
        assert image is not None
        queue.lost([image], suspected=False)
        assert image.deaths == 0
        assert queue.take([]) is image


def test_deaths_in_a_row_are_counted(writer: RunWriter) -> None:
    with writer:
        queue = ImageQueue([writer])
        image = queue.take([])
        assert image is not None
        queue.lost([image], suspected=True)
        assert queue.take([]) is image
        queue.played(image, next(iter(image.left)))
        queue.lost([image], suspected=True)
        for deaths in range(1, MOST_DEATHS + 1):
            assert image.deaths == deaths, "an episode that was finished shows that the image can be played"
            assert queue.take([]) is image
            queue.lost([image], suspected=True)
