from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from tests.support.data_files import blob, noise, save, write_json, write_task

SOURCE = {"kind": "mask_folder", "images": "im", "masks": "gt", "expression": "the main object"}
NAMES = ["b", "a", "c.d"]


@pytest.fixture
def data(tmp_path) -> Path:
    for n, name in enumerate(NAMES):
        save(tmp_path / "im" / f"{name}.png", noise(6, 7, n))
        save(tmp_path / "gt" / f"{name}.png", blob(6, 7, n))
    return tmp_path


def open_task(data: Path, overrides=None, **source):
    return load_task(write_task(data, SOURCE | source)).source(overrides=overrides)


def test_pairs_by_stem(data):
    source = open_task(data)
    found = [(s.id, s.image, s.image_id, s.expression, s.ref_id) for s in source.samples()]
    assert found == [(f"own/{n}/0", f"{n}.png", n, "the main object", n) for n in ("a", "b", "c.d")]
    for sample in source.samples():
        n = NAMES.index(sample.ref_id)
        np.testing.assert_array_equal(source.image(sample), noise(6, 7, n))
        np.testing.assert_array_equal(source.truth(sample).mask, blob(6, 7, n))


def test_images_of_several_kinds_and_masks_with_a_longer_suffix(tmp_path):
    for suffix in (".JPG", ".bmp", ".jpeg"):
        save(tmp_path / "im" / f"x{suffix}", noise(4, 5))
        (tmp_path / "im" / f"x{suffix}").rename(tmp_path / "im" / f"{suffix[1:]}{suffix}")
        save(tmp_path / "gt" / f"{suffix[1:]}_mask.bmp", blob(4, 5))
    (tmp_path / "im" / "Thumbs.db").write_text("")
    (tmp_path / "im" / ".hidden.jpg").write_text("")
    (tmp_path / "gt" / "notes.txt").write_text("")
    source = open_task(tmp_path, mask_suffix="_mask.bmp")
    assert [s.image for s in source.samples()] == ["JPG.JPG", "bmp.bmp", "jpeg.jpeg"]
    assert source.truth(source.samples()[1]).mask.sum() == blob(4, 5).sum()


def test_images_and_masks_in_one_folder(tmp_path):
    save(tmp_path / "all" / "a.jpg", noise(4, 5))
    save(tmp_path / "all" / "a.png", blob(4, 5))
    with pytest.raises(UsageError, match=r"both a.jpg and a.png; .*data.image_suffix"):
        open_task(tmp_path, images="all", masks="all")
    (sample,) = open_task(tmp_path, images="all", masks="all", image_suffix=".jpg").samples()
    assert sample.image == "a.jpg"


def test_missing_files(data):
    (data / "im" / "a.png").unlink()
    (data / "gt" / "b.png").unlink()
    source = open_task(data)
    a, b, _ = source.samples()
    with pytest.raises(UsageError, match=r"own/a/0 needs im/a\.png"):
        source.image(a)
    assert source.image(b).shape == (6, 7, 3)
    with pytest.raises(UsageError, match=r"own/b/0 needs gt/b\.png"):
        source.truth(b)
    with pytest.raises(UsageError, match=r"own/b/0 needs gt/b\.png"):
        source.digest()
    for skipping in (
        open_task(data, missing="skip"),
        open_task(data, skip="missing"),
        open_task(data, skip=["missing"]),
    ):
        assert [s.ref_id for s in skipping.samples()] == ["c.d"]
        assert skipping.describe()["skipped"] == {"missing": 2}


def test_no_files(tmp_path):
    (tmp_path / "im").mkdir()
    with pytest.raises(UsageError, match="needs gt"):
        open_task(tmp_path)
    (tmp_path / "gt").mkdir()
    with pytest.raises(UsageError, match="no samples"):
        open_task(tmp_path)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_mask_is_compared_with_the_turned_image(tmp_path, orientation):
    save(tmp_path / "im" / "a.png", noise(6, 7), orientation)
    save(tmp_path / "gt" / "a.png", blob(6, 7))
    source = open_task(tmp_path)
    with pytest.raises(UsageError, match=r"own/a/0 has a mask of 6 x 7 and an image of 7 x 6"):
        source.truth(source.samples()[0])
    save(tmp_path / "gt" / "a.png", blob(7, 6))
    np.testing.assert_array_equal(source.truth(source.samples()[0]).mask, blob(7, 6))


def test_digest_depends_on_masks_names_expressions_and_rule(data):
    digests = {
        open_task(data).digest(),
        open_task(data, threshold=0).digest(),
        open_task(data, expression="x").digest(),
    }
    save(data / "gt" / "a.png", ~blob(6, 7, 1))
    digests.add(open_task(data).digest())
    (data / "gt" / "a.png").rename(data / "gt" / "aa.png")
    (data / "im" / "a.png").rename(data / "im" / "aa.png")
    digests.add(open_task(data).digest())
    assert len(digests) == 5
    assert open_task(data).digest() in digests


def dis_name(name: str, number: int = 1) -> str:
    return f"{number}#Household#7#{name}#5795028920_08884db993_o"


@pytest.fixture
def dis(tmp_path) -> Path:
    for name in ("StreetLamp", "TV"):
        save(tmp_path / "DIS5K" / "DIS-VD" / "im" / f"{dis_name(name)}.jpg", noise(5, 6))
        save(tmp_path / "DIS5K" / "DIS-VD" / "gt" / f"{dis_name(name)}.png", blob(5, 6))
    return tmp_path


def test_dis_names_give_expressions_and_tags(dis):
    source = load_task("hres_dis").source(dis)
    assert [(s.expression, dict(s.tags)) for s in source.samples()] == [
        ("street lamp", {"category": "household"}),
        ("TV", {"category": "household"}),
    ]
    assert source.describe()["expression_from"] == "pattern"


def test_a_caption_file_replaces_the_names(dis, monkeypatch):
    rows = [{"img": f"DIS-VD/im/{dis_name(n)}.jpg", "prompt": f"prompt of {n}"} for n in ("TV", "StreetLamp")]
    write_json(dis / "captions.json", rows)
    task = load_task("hres_dis")
    source = task.source(dis, overrides={"captions": "captions.json"})
    assert [s.expression for s in source.samples()] == ["prompt of StreetLamp", "prompt of TV"]
    assert dict(source.samples()[0].tags) == {"category": "household"}
    assert source.describe()["expression_from"] == "captions"
    assert source.describe()["captions"] == "captions.json"
    elsewhere = dis / "elsewhere"
    elsewhere.mkdir()
    write_json(elsewhere / "mine.json", {dis_name("TV"): "tv", dis_name("StreetLamp"): ["lamp", "the lamp"]})
    monkeypatch.chdir(elsewhere)
    source = task.source(dis, overrides={"captions": "./mine.json"})
    assert [(s.id.rpartition("/")[2], s.expression) for s in source.samples()] == [
        ("0", "lamp"),
        ("1", "the lamp"),
        ("0", "tv"),
    ]
    write_json(elsewhere / "mine.json", {dis_name("TV"): "tv"})
    with pytest.raises(UsageError, match=r"mine.json has no caption for '1#Household#7#StreetLamp"):
        task.source(dis, overrides={"captions": "./mine.json"})
    with pytest.raises(UsageError, match="needs none.json"):
        task.source(dis, overrides={"captions": "none.json"})


def test_an_expression_or_a_pattern_replaces_the_names(dis):
    task = load_task("hres_dis")
    assert {s.expression for s in task.source(dis, overrides={"expression": "it"}).samples()} == {"it"}
    by_category = {"pattern": r"^\d+#(?P<expression>[^#]+)"}
    source = task.source(dis, overrides=by_category)
    assert {(s.expression, len(s.tags)) for s in source.samples()} == {("household", 0)}


@pytest.fixture
def thin(tmp_path) -> Path:
    for name in ("fire_truck_PNG123", "ant12", "Spider"):
        save(tmp_path / "thin_object_detection/ThinObject5K/images_test" / f"{name}.jpg", noise(5, 6))
        save(tmp_path / "thin_object_detection/ThinObject5K/masks_test" / f"{name}.png", blob(5, 6))
    return tmp_path


def test_thinobject_takes_captions_where_there_are_some(thin):
    task = load_task("hres_thinobject")
    source = task.source(thin)
    assert [s.expression for s in source.samples()] == ["spider", "ant", "fire truck"]
    assert source.describe()["expression_from"] == "pattern"
    captions = {"fire_truck_PNG123": "a red fire truck", "ant12": "an ant", "Spider": "a spider"}
    place = thin / "thin_object_detection/ThinObject5K/captions_test.jsonl"
    place.write_text("\n".join(f'{{"stem": "{k}", "caption": "{v}"}}' for k, v in captions.items()))
    source = task.source(thin)
    assert [s.expression for s in source.samples()] == ["a spider", "an ant", "a red fire truck"]
    assert source.describe()["expression_from"] == "captions_if_there"
    for override, first in [({"expression": "it"}, "it"), ({"pattern": "(?P<expression>^.)"}, "s")]:
        assert task.source(thin, overrides=override).samples()[0].expression == first


def test_a_name_that_fits_no_pattern(thin):
    save(thin / "thin_object_detection/ThinObject5K/images_test/0001.jpg", noise(5, 6))
    save(thin / "thin_object_detection/ThinObject5K/masks_test/0001.png", blob(5, 6))
    with pytest.raises(UsageError, match=r"'0001' does not fit the pattern .*data.captions=FILE"):
        load_task("hres_thinobject").source(thin)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"expression": None}, "give captions, an expression, or a pattern"),
        ({"expression": None, "pattern": "^(?P<category>a)"}, "give captions, an expression, or a pattern"),
        ({"pattern": "("}, "not a regular expression"),
        ({"channel": "red"}, "channel"),
        ({"threshold": "high"}, "threshold"),
    ],
)
def test_wrong_settings(tmp_path, source, message):
    with pytest.raises(UsageError, match=message):
        load_task(write_task(tmp_path, SOURCE | source))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.shared
def test_real_grabcut_has_an_ignored_band(shared):
    root = shared / "realdata" / "GrabCut"
    source = load_task("grabcut").source(shared / "realdata")
    assert len(source.samples()) == 10
    bands = 0
    for sample in source.samples():
        values = pixels(root / "boundary_GT" / f"{sample.ref_id}.bmp")
        truth = source.truth(sample)
        np.testing.assert_array_equal(truth.mask, values == 255)
        if (values == 128).any():
            bands += 1
            np.testing.assert_array_equal(truth.ignore, values == 128)
        else:
            assert truth.ignore is None
        assert source.image(sample).shape[:2] == values.shape
    assert bands == 6


@pytest.mark.shared
def test_real_berkeley_objects_of_one_image_belong_together(shared):
    source = load_task("berkeley").source(shared / "realdata")
    samples = source.samples()
    assert len(samples) == 40
    assert [s.ref_id for s in samples if s.image_id == "189011"] == ["189011", "189011a", "189011b"]
    assert len({s.image_id for s in samples}) == 38
    assert {s.expression for s in samples} == {"the main object"}
    for sample in samples[::5]:
        values = pixels(shared / "realdata" / "Berkeley" / "masks" / f"{sample.ref_id}.png")
        np.testing.assert_array_equal(source.truth(sample).mask, values[..., 0] > 128)


@pytest.mark.shared
def test_real_davis_counts_every_object(shared):
    source = load_task("davis").source(shared / "realdata")
    assert len(source.samples()) == 8
    for sample in source.samples():
        indices = pixels(shared / "realdata" / "DAVIS" / "gt" / f"{sample.ref_id}.png")
        np.testing.assert_array_equal(source.truth(sample).mask, indices > 0)
        assert source.image(sample).shape == (480, 854, 3)


@pytest.mark.shared
def test_real_coco_mval_categories(shared):
    source = load_task("coco_mval").source(shared / "realdata")
    expressions = {s.ref_id: s.expression for s in source.samples()}
    assert len(expressions) == 14
    assert expressions["dining table01_000000530146"] == "dining table"
    assert expressions["hair drier01_000000384136"] == "hair drier"
    assert expressions["bed07_000000213422"] == "bed"
    for sample in source.samples():
        assert sample.tags["category"] == sample.expression
        assert sample.ref_id.endswith(sample.image_id)
        gray = pixels(shared / "realdata" / "COCO_MVal" / "gt" / f"{sample.ref_id}.png")
        np.testing.assert_array_equal(source.truth(sample).mask, gray > 0)


@pytest.mark.shared
def test_real_dis_pairs(shared):
    folders = {"images": "DIS5K/DIS5K-test/im", "masks": "DIS5K/DIS5K-test/gt"}
    source = load_task("hres_dis").source(shared / "realdata", overrides=folders)
    assert [(s.expression, s.tags["category"]) for s in source.samples()] == [
        ("bag", "accessories"),
        ("pavilion", "architecture"),
    ]
    for sample in source.samples():
        gray = pixels(shared / "realdata" / folders["masks"] / f"{sample.ref_id}.png")
        np.testing.assert_array_equal(source.truth(sample).mask, gray > 128)
        assert source.image(sample).shape[:2] == gray.shape


@pytest.mark.shared
@pytest.mark.parametrize(
    ("task", "file"), [("hres_dis", "DIS-VD"), *((f"hres_dis_te{n}", f"DIS-TE{n}") for n in range(1, 5))]
)
def test_real_dis_names_and_prompts(shared, tmp_path, task, file):
    """The full lists of names, from a real prompt file: every name gives an expression and has a prompt."""
    import json

    prompts = shared / "realdata" / "DIS5K_prompts_LawDIS" / f"{file}.json"
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    for row in rows:
        name = Path(row["img"]).name
        for path in (tmp_path / "DIS5K" / file / "im" / name, tmp_path / "DIS5K" / file / "gt" / f"{name[:-4]}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    definition = load_task(task)
    samples = definition.source(tmp_path).samples()
    assert len(samples) == len(rows) == definition.expected.expressions
    assert {s.expression.replace(" ", "").lower() for s in samples} == {
        row["img"].split("#")[3].lower() for row in rows
    }
    assert len({s.tags["category"] for s in samples}) > 10
    prompted = definition.source(tmp_path, overrides={"captions": str(prompts)})
    assert {s.image: s.expression for s in prompted.samples()} == {Path(row["img"]).name: row["prompt"] for row in rows}
    assert prompted.describe()["captions"] == f"{file}.json"


def test_names_are_compared_in_one_form(tmp_path):
    save(tmp_path / "im" / "cafe\u0301.png", noise(6, 7))
    save(tmp_path / "gt" / "caf\u00e9.png", blob(6, 7))
    source = open_task(tmp_path)
    (sample,) = source.samples()
    assert source.truth(sample).mask.shape == source.image(sample).shape[:2] == (6, 7)
    write_json(tmp_path / "captions.json", {"cafe\u0301.png": "a cup"})
    (sample,) = open_task(tmp_path, {"captions": "captions.json"}).samples()
    assert sample.expression == "a cup"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda f: save(f / "im/sub/a.png", noise(6, 7)),
            r"im holds no image; its folder sub does: --set data.images=im/sub",
        ),
        (lambda f: (f / "im/empty").mkdir(parents=True), r"im holds no image; put the images there"),
        (lambda f: (f / "im").mkdir(), r"im holds no image; put the images there"),
        (
            lambda f: [save(f / "im/a.png", noise(6, 7)), (f / "gt/a.png").unlink()],
            r"gt holds no mask that ends in \.png; put",
        ),
        (
            lambda f: [save(f / "im/a.png", noise(6, 7)), (f / "gt/a.png").rename(f / "gt/a.bmp")],
            r"gt holds no mask that ends in \.png, but files that end in \.bmp; --set data.mask_suffix=\.bmp",
        ),
        (lambda f: (f / "im").touch(), "im of the task own is a file; name the folder"),
    ],
    ids=range(6),
)
def test_folders_without_what_is_looked_for(tmp_path, make, message):
    save(tmp_path / "gt" / "a.png", blob(6, 7))
    make(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_task(tmp_path)


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("ak47_PNG15466", "ak47"),
        ("mp3_player_PNG7", "mp3 player"),
        ("3d_printer_PNG5", "3d printer"),
        ("pngimg.com - sword_PNG5525", "sword"),
        ("pngimg.com - golf_cart_PNG12a", "golf cart"),
        ("arrow_bow_PNG12a", "arrow bow"),
        ("rat mouse_PNG3", "rat mouse"),
        ("t-shirt_PNG3d", "t-shirt"),
        ("ant12", "ant"),
        ("chain_saw", "chain saw"),
    ],
)
def test_thinobject_names_with_digits(tmp_path, name, expression):
    save(tmp_path / "thin_object_detection/ThinObject5K/images_test" / f"{name}.jpg", noise(5, 6))
    save(tmp_path / "thin_object_detection/ThinObject5K/masks_test" / f"{name}.png", blob(5, 6))
    (sample,) = load_task("hres_thinobject").source(tmp_path).samples()
    assert sample.expression == expression


@pytest.mark.parametrize(
    "pattern", ["(" * 5000, "(" * 900 + ")" * 900, "(?P<expression>a{99999999999})", "(?P<expression>a){2,1}"]
)
def test_patterns_that_cannot_be_compiled(tmp_path, pattern):
    with pytest.raises(UsageError, match="source.pattern") as caught:
        load_task(write_task(tmp_path, SOURCE | {"pattern": pattern}))
    assert len(str(caught.value)) < 600
