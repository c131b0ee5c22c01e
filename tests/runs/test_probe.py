"""`hlmat-bench probe` from the command line to the picture, with models that look at the pixels."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.layouts.image_files import read_image
from hlmat_bench.protocol.interfaces import Request
from hlmat_bench.runs.probe import ProbeReport, markers, picture, probe
from hlmat_bench.testing import Answer, Asked, ChatServer, Failure, MarkerFinder

PLUGIN = """
from hlmat_bench.errors import RequestFailed
from hlmat_bench.testing import MarkerFinder


class Batches(MarkerFinder):
    batch_size = 5

    def reply_batch(self, requests):
        assert 1 <= len(requests) <= self.batch_size
        return [self.replies(request) for request in requests]


class Fails(MarkerFinder):
    async def reply(self, request):
        if request.sample_id.endswith("3"):
            raise RequestFailed("the server is gone")
        return await super().reply(request)


MODELS = {"finder": MarkerFinder, "batches": Batches, "fails": Fails}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plugin") / "finder.py"
    path.write_text(PLUGIN)
    return str(path)


def look(plugin: str, out: Path, options: str = "", name: str = "finder", samples: int = 12) -> ProbeReport:
    return probe(f"{plugin}:{name}{',' if options else ''}{options}", samples=samples, out=out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "sees", "points", "resize", "mistakes", "declare"),
    [
        ("xy1000", "none", "xy1000", "none", (), None),
        ("yx1", "none", "yx1", "none", (), None),
        ("xypixel", "smart-28-3136-1003520", "xypixel", "smart-28-3136-1003520", (), None),
        ("xy1", "square", "xy1", "square", (), None),
        ("xypixel", "none", "xypixel", "fit-long1568-pixels1150000", (), None),
        ("yx1000", "none", "xy1000", "none", ("order",), "points=yx1000"),
        ("xy100", "none", "xy1", "none", ("unit",), "points=xy100"),
        ("xy1000", "none", "xypixel", "none", ("unit",), "points=xy1000"),
        ("yx1023-loc", "none", "xy1000-json", "none", ("order", "unit", "syntax"), "points=yx1023-loc"),
        ("xy1000-json", "none", "xy1000", "none", ("syntax",), "points=xy1000-json"),
        ("xy1", "square", "xy1", "none", ("canvas",), "points=xy1,resize=square"),
        (
            "xypixel", "smart-28-3136-1003520", "xypixel", "none", ("canvas",),
            "points=xypixel,resize=smart-28-3136-1003520",
        ),
        (
            "yxpixel-point", "smart-32-65536-16777216", "xy999", "none", ("order", "unit", "canvas", "syntax"),
            "points=yxpixel-point,resize=smart-32-65536-16777216",
        ),
    ],
)  # fmt: skip
def test_the_whole_way(
    plugin: str, tmp_path: Path, truth: str, sees: str, points: str, resize: str, mistakes: tuple[str, ...],
    declare: str | None,
) -> None:  # fmt: skip
    options = f"truth={truth},sees={sees},points={points},resize={resize}"
    report = look(plugin, tmp_path, options, samples=16 if "smart" in options or "fit" in options else 12)
    assert report.diagnosis.mistakes == mistakes, report.sentences()
    assert report.diagnosis.declare == declare
    assert report.ok == (not mistakes)
    for spot, answer in zip(report.diagnosis.found_spots, report.answers, strict=True):
        assert spot is not None
        assert math.dist(spot, answer.target) < 0.01 * math.hypot(*answer.size)


def test_what_is_suggested_is_right(plugin: str, tmp_path: Path) -> None:
    """The model declared as the report says passes the same probe."""
    planted = "truth=yxpixel-json,sees=smart-28-3136-12845056,noise=1"
    wrong = look(plugin, tmp_path, f"{planted},points=xy1000")
    assert not wrong.ok
    assert look(plugin, tmp_path, f"{planted},{wrong.diagnosis.declare}").ok


@pytest.mark.slow
def test_every_image_is_read_the_right_way_up(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, samples=32)
    [turned] = {question.image for question in report.questions if "turned" in question.image.name}
    with Pillow.open(turned) as file:
        assert (file.size, file.getexif()[0x0112]) == ((500, 320), 6)
    sizes = {answer.size for answer in report.answers}
    assert (500, 320) in sizes
    assert any(height * width > 2_000_000 for height, width in sizes)
    assert (48, 64) in sizes
    for question, answer, error in zip(report.questions, report.answers, report.diagnosis.errors, strict=True):
        assert error is not None
        assert error < 0.002 * math.hypot(*answer.size), question


def test_markers_are_near_every_edge_and_distinct(tmp_path: Path) -> None:
    questions = markers.write_images(tmp_path, 32, seed=0)
    near: set[tuple[str, bool]] = set()
    for file in {question.image for question in questions}:
        asked = [question for question in questions if question.image == file]
        assert len({question.expression.split()[-2] for question in asked}) == 4
        assert len({question.expression.split()[-1] for question in asked}) == 4
        height, width = read_image(file).shape[:2]
        radius = max(5, 0.045 * min(height, width))
        for question in asked:
            x, y = question.target
            assert all(math.dist(question.target, other.target) > 2 * radius for other in asked if other != question)
            near |= {("x", side) for side, gap in ((False, x), (True, width - x)) if gap < 2 * radius}
            near |= {("y", side) for side, gap in ((False, y), (True, height - y)) if gap < 2 * radius}
    assert len(near) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "rough"), [(1, False), (4, True)])
def test_noise(plugin: str, tmp_path: Path, noise: int, rough: bool) -> None:
    report = look(plugin, tmp_path, f"noise={noise}", samples=32)
    assert report.ok
    assert ("But the model points only roughly." in report.sentences()) == rough
    assert any("0-999" in line and "can't be told apart" in line for line in report.sentences())


def test_an_offset(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, "offset_x=6,offset_y=-4,noise=0.5")
    assert report.diagnosis.mistakes == ("offset",)
    assert report.diagnosis.found is not None
    assert report.diagnosis.found.offset is not None
    assert report.diagnosis.found.offset.x == pytest.approx(6, abs=0.6)
    assert report.diagnosis.found.offset.y == pytest.approx(-4, abs=0.6)


def test_a_scale(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, "scale=0.448,noise=0.5")
    assert report.diagnosis.mistakes == ("scale",)
    assert "a factor of 0.4" in report.sentences()[0]


@pytest.mark.slow
@pytest.mark.parametrize("blind", ["random", "constant"])
def test_a_blind_model(plugin: str, tmp_path: Path, blind: str) -> None:
    report = look(plugin, tmp_path, f"blind={blind}", samples=16)
    assert report.diagnosis.status == "blind"
    assert report.sentences()[0] == "This model can't point: its answers don't depend on where the marker is."


@pytest.mark.slow
def test_refusals(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, "refuses=0.25", samples=32)
    assert report.ok
    refused = sum("sorry" in (answer.reply or "") for answer in report.answers)
    assert 0 < refused < 16
    assert any(line.startswith(f"{refused} of 32 replies do not contain two numbers") for line in report.sentences())
    assert look(plugin, tmp_path, "refuses=1").diagnosis.status == "silent"


@pytest.mark.slow
def test_failed_requests_are_counted_and_named(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, name="fails", samples=16)
    assert report.ok
    assert "2 of 16 requests failed." in report.sentences()
    assert "The first failure: the server is gone" in report.sentences()
    assert report.failures.count("the server is gone") == 2


@pytest.mark.slow
def test_a_model_in_batches_and_the_number_at_once_change_nothing(plugin: str, tmp_path: Path) -> None:
    one = probe(f"{plugin}:finder,noise=1", samples=12, concurrency=1, out=tmp_path / "one")
    many = probe(f"{plugin}:finder,noise=1", samples=12, concurrency=7, out=tmp_path / "many")
    batches = probe(f"{plugin}:batches,noise=1", samples=12, out=tmp_path / "batches")
    assert one.to_json() == many.to_json()
    assert one.to_json()["answers"] == batches.to_json()["answers"]


def test_the_format_of_a_setting_and_the_settings_of_a_run(plugin: str, tmp_path: Path) -> None:
    model = f"{plugin}:finder,truth=yx1000,points=xy1000"
    report = probe(model, samples=12, out=tmp_path, settings={"points": "yx1000", "jpeg": 75, "overlay.color": "blue"})
    assert report.ok
    assert report.points.name == "yx1000"
    with pytest.raises(UsageError, match="There is no setting"):
        probe(model, out=tmp_path, settings={"colour": "blue"})


@pytest.mark.slow
def test_a_server_is_asked_as_in_a_run(tmp_path: Path) -> None:
    def answer(body: dict[str, object], image: object, prompt: str) -> Answer:
        return Failure(400) if " star\n" in prompt else "Positive point: (500, 500)"

    with ChatServer(answer) as server:
        model = f"openai,model=fake,points=xy1000,base_url={server.base_url},image_format=png,retries=0"
        report = probe(model, samples=24, out=tmp_path)
    assert report.diagnosis.status == "blind"
    assert sum(failure is not None for failure in report.failures) == 6
    for question in report.questions:
        [asked] = [asked for asked in server.asked if _is_about(asked, question)]
        assert "Coordinates are written x first, then y, relative to the image" in asked.prompt


def test_a_wrong_key_ends_the_probe(tmp_path: Path) -> None:
    with ChatServer(lambda *_: "Finish", key="right") as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,api_key=canary-4711"
        with pytest.raises(UsageError, match="key"):
            probe(model, samples=8, out=tmp_path)


def _is_about(asked: Asked, question: markers.MarkerQuestion) -> bool:
    named = f"The object: {question.expression}\n" in asked.prompt
    return named and np.array_equal(np.asarray(asked.image), read_image(question.image))


@pytest.mark.slow
def test_a_key_is_written_nowhere(tmp_path: Path) -> None:
    with ChatServer(lambda *_: "Finish", key="canary-4711") as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,api_key=canary-4711"
        ran = _cli("--model", model, "--samples", "8", cwd=tmp_path)
    assert ran.returncode == 1
    assert len(server.asked) == 8
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"picture.png", "probe.json"} <= {path.name for path in files}
    assert "canary" not in ran.stdout + ran.stderr + " ".join(map(str, files))
    assert all(b"canary" not in path.read_bytes() for path in files)


def test_the_picture_shows_rings_on_markers_and_crosses_on_answers(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, "truth=yx1000,points=xy1000")
    with Pillow.open(report.picture) as file:
        assert file.format == "PNG"
        pixels = np.array(file.convert("RGB"))
    files = list(dict.fromkeys(question.image for question in report.questions))
    crosses = 0
    for question, answer, spot in zip(report.questions, report.answers, report.diagnosis.declared_spots, strict=True):
        assert spot is not None
        number, (height, width) = files.index(question.image), answer.size
        longest = picture.TILE - 2 * picture.MARGIN
        scale = longest / max(height, width)
        left = number % 4 * picture.TILE + picture.MARGIN + (longest - width * scale) / 2
        top = 3 * picture.HEADER + picture.MARGIN + (longest - height * scale) / 2

        def at(place: tuple[float, float], x: float, y: float, s: float = scale) -> tuple[int, int]:
            return round(y + place[1] * s), round(x + place[0] * s)

        cross, (row, column) = at(spot, left, top), at(question.target, left, top)
        crosses += tuple(pixels[cross].tolist()) == picture.DECLARED
        ring = pixels[row - 14 : row - 9, column]
        assert picture.TRUTH in {tuple(color) for color in ring.tolist()}
    assert crosses >= 10, "but for those under another mark, every cross is where its answer is"
    assert (pixels == picture.FOUND).all(axis=2).any()


def test_where_the_format_fits_there_are_no_diamonds_and_crosses_are_on_the_markers(
    plugin: str, tmp_path: Path
) -> None:
    report = look(plugin, tmp_path)
    pixels = np.array(Pillow.open(report.picture).convert("RGB"))[2 * picture.HEADER :]
    assert not (pixels == picture.FOUND).all(axis=2).any()
    crosses = int((pixels == picture.DECLARED).all(axis=2).sum())
    assert 12 * 20 < crosses < 12 * 150


def test_the_file_holds_every_reply(plugin: str, tmp_path: Path) -> None:
    report = look(plugin, tmp_path, "truth=yx1000-json,points=xy1000")
    value = json.loads(report.replies.read_text())
    assert value == report.to_json()
    assert value["schema"] == "hlmat-probe/1"
    assert value["diagnosis"]["mistakes"] == ["order", "syntax"]
    first = value["answers"][0]
    assert first["raw"] == report.answers[0].reply
    assert first["numbers"] == json.loads(first["raw"])["point_2d"]
    assert first["syntax"] == "json"
    height, width = first["size"]
    assert first["declared"] == pytest.approx([first["numbers"][0] * width / 1000, first["numbers"][1] * height / 1000])
    assert first["found"] == pytest.approx([first["numbers"][1] * width / 1000, first["numbers"][0] * height / 1000])
    assert math.dist(first["found"], first["target"]) < 2
    assert math.dist(first["declared"], first["target"]) == pytest.approx(first["error"])


def _cli(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hlmat_bench", "probe", *words], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.slow
def test_the_command(plugin: str, tmp_path: Path) -> None:
    ran = _cli("--model", f"{plugin}:finder", "--samples", "9", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = {line.split()[0]: line.split() for line in ran.stdout.splitlines() if line.strip()}
    assert lines["640x480"][1:3] == ["4", "4"]
    assert lines["64x48"][1:3] == ["1", "1"]
    assert lines["all"][1:3] == ["9", "9"]
    assert "The declared format fits" in ran.stdout
    for name in ("picture", "replies"):
        assert (tmp_path / lines[f"{name}:"][1]).is_file()
    wrong = _cli("--model", f"{plugin}:finder", "--samples", "9", "--set", "points=yx1000", "--out", "x", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "The axes are swapped" in wrong.stdout
    assert wrong.stderr.count("error") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "oracle"], "oracle is a reference"),
        (["--model", "nobody"], "There is no model called 'nobody'"),
        (["--model", "{plugin}:finder", "--samples", "7"], "at least 8 samples"),
        (["--model", "{plugin}:finder", "--set", "points=zz"], "There is no point format"),
        (["--model", "{plugin}:finder", "--out", "{plugin}/x"], "choose another --out"),
    ],
)
def test_what_a_user_gets_wrong(plugin: str, tmp_path: Path, words: list[str], sentence: str) -> None:
    ran = _cli(*(word.format(plugin=plugin) for word in words), cwd=tmp_path)
    assert ran.returncode == 2
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("truth", "reply"),
    [
        ("xy1000", "Positive point: (750, 250)"),
        ("yxpixel-json", '{"point_2d": [25, 150], "label": "positive"}'),
        ("yx1", "Positive point: (0.2500, 0.7500)"),
    ],
)
def test_the_marker_finder_looks_at_the_pixels(truth: str, reply: str) -> None:
    """A red square from (140, 15) to (160, 35) in an image of 200 x 100: its middle is (150, 25)."""
    image = np.full((100, 200, 3), 230, np.uint8)
    image[15:35, 140:160] = (214, 39, 40)
    image[60:90, 20:50] = (31, 80, 200)
    finder = MarkerFinder(truth)
    assert finder.replies(Request(image, "The object: the small red square"))[0].text == reply
    assert finder.replies(Request(image, "The object: the yellow star"))[0].text == "Finish"


@pytest.mark.slow
def test_the_example_of_the_page(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "probe.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [shown] = re.findall(r"```\n(\$ .*?)```", page, re.DOTALL)
    command, *expected = shown.splitlines()
    (tmp_path / "my_finder.py").write_text(code)
    ran = _cli(*command.split()[3:], cwd=tmp_path)
    assert [_without_figures(line) for line in ran.stdout.splitlines()] == [_without_figures(line) for line in expected]


def _without_figures(line: str) -> str:
    """Return a line without the figures that another version of a JPEG decoder may change in their last place."""
    return " ".join(re.sub(r"\d+\.?\d* (?:px|%|pixels)", "#", line).split())
