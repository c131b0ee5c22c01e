from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import expand, groups, load_task, task_names
from tests.support.data_files import blob, noise, save, write_task

RES = [
    *(f"res_{name}_{split}" for name in ("refcoco", "refcocoplus") for split in ("val", "testA", "testB")),
    "res_refcocog_val",
    "res_refcocog_test",
]
CLASSIC = ["grabcut", "berkeley", "davis", "coco_mval"]
SEGNEXT = ["grabcut", "berkeley", "davis", "sbd", "pascalvoc", "hqseg44k_val"]
TRAIN = [
    *("hqseg44k_train", "hres_dis_train", "hres_thinobject_train"),
    *("res_refcoco_train", "res_refcocoplus_train", "res_refcocog_train", "synth_easy_train"),
]
EXTRA = [*(f"hres_dis_te{n}" for n in range(1, 5)), "hres_coift", "hres_hrsod"]
COUNTS = {
    "res_refcoco_val": (1500, 3811, 10834),
    "res_refcoco_testA": (750, 1975, 5657),
    "res_refcoco_testB": (750, 1810, 5095),
    "res_refcocoplus_val": (1500, 3805, 10758),
    "res_refcocoplus_testA": (750, 1975, 5726),
    "res_refcocoplus_testB": (750, 1798, 4889),
    "res_refcocog_val": (1300, 2573, 4896),
    "res_refcocog_test": (2600, 5023, 9602),
    "refine_refcoco_val": (1500, 3811, 10834),
    "filter_refcoco_val": (1500, 3811, 10834),
    "hres_dis": (470, 470, 470),
    "hres_thinobject": (500, 500, 500),
    "berkeley": (96, 100, 100),
    "coco_mval": (722, 800, 800),
    "sbd": (2857, 6671, 6671),
    "pascalvoc": (1449, None, None),
    "hqseg44k_val": (1537, 1537, 1537),
    "hqseg44k_train": (44320, 44320, 44320),
    "hres_dis_train": (3000, 3000, 3000),
    "hres_thinobject_train": (4748, 4748, 4748),
    "res_refcoco_train": (16994, 42404, 120624),
    "res_refcocoplus_train": (16992, 42278, 120191),
    "res_refcocog_train": (21899, 42226, 80512),
    "res_reasonseg_val": (200, 200, 200),
    "res_reasonseg_test": (779, 779, 779),
    "res_gseval": (2727, 3715, 3715),
    "gres_grefcoco_val": (None, None, 8905 + 5324),
    "gres_grefcoco_testA": (750, None, 4448 + 5917 + 8835),
    "gres_grefcoco_testB": (750, None, 4673 + 5646 + 5744),
}


def test_all_tasks_are_there():
    assert set(task_names()) >= {*RES, *CLASSIC, *EXTRA, "hres_dis", "hres_thinobject", "hres_synth"}
    assert set(expand("res")) == set(RES)
    assert set(expand("hres")) == {"hres_dis", "hres_thinobject"}
    assert set(expand("hres_extra")) == set(EXTRA)
    assert set(expand("classic")) == set(CLASSIC)
    assert set(expand("segnext")) == set(SEGNEXT)
    assert set(expand("train")) == set(TRAIN)
    assert set(expand("synth")) == {"hres_synth", "synth_easy"}
    assert set(expand("reason")) == {"res_reasonseg_val", "res_reasonseg_test"}
    assert set(expand("gres")) == {f"gres_grefcoco_{split}" for split in ("val", "testA", "testB")}
    assert {name for names in groups().values() for name in names} == set(task_names())
    assert not set(groups()) & set(task_names())


@pytest.mark.parametrize("name", task_names())
def test_a_file_says_what_its_data_is(name):
    task = load_task(name)
    assert (folder("tasks") / f"{name}.yaml").is_file()
    assert task.name == name
    assert all([task.title, task.licence, task.citation, task.advice])
    assert task.expected.expressions or name == "pascalvoc"
    assert task.kind == {"refine": "refinement", "filter": "filtering"}.get(task.group, "segmentation")
    if task.reads_files:
        assert task.revision
        assert task.homepage.startswith("http")
        assert task.fetch or ("http" in task.how_to_get and "data root" in task.how_to_get)
    counts = (task.expected.images, task.expected.refs, task.expected.expressions)
    assert counts == COUNTS.get(name, counts)


@pytest.mark.parametrize("name", task_names())
def test_a_missing_data_root_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.delenv("HLMAT_DATA", raising=False)
    task = load_task(name)
    if not task.reads_files:
        assert task.missing() is None
        return
    first = task.sources[0].needed()[0]
    with pytest.raises(UsageError, match=re.escape(f"{name} needs {first}")) as caught:
        task.source()
    assert "--data-root" in str(caught.value)
    assert task.how_to_get in str(caught.value)
    assert "data root" in (task.missing() or "")
    with pytest.raises(UsageError, match=re.escape(first)) as caught:
        task.source(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert task.how_to_get in str(caught.value)
    assert task.missing(tmp_path) == f"needs {first} under {tmp_path}"


def test_synthetic_samples_depend_on_the_seed():
    task = load_task("hres_synth")
    assert task.missing() is None
    source = task.source(seed=3, overrides={"count": 4})
    assert len(source.samples()) == 4
    assert all(s.id.startswith("hres_synth/") for s in source.samples())
    assert source.digest() != task.source(seed=4, overrides={"count": 4}).digest()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("res_refcoco_vall", "res_refcoco_val"), ("hres_thin", "hres_thinobject"), ("clasic", "classic")],
)
def test_unknown_names_get_the_nearest(name, nearest):
    for find in (load_task, expand):
        with pytest.raises(UsageError, match=f"no task called '{name}'.*{nearest}.*`hlmat-bench tasks`"):
            find(name)


def test_expand_gives_names_and_paths_back():
    assert expand("hres_dis") == ["hres_dis"]
    assert expand("./my/task.yaml") == ["./my/task.yaml"]


OWN = {"kind": "mask_folder", "images": "im", "masks": "gt", "expression": "it"}


@pytest.fixture
def own(tmp_path) -> Path:
    save(tmp_path / "im" / "a.png", noise(3, 4))
    save(tmp_path / "gt" / "a.png", blob(3, 4))
    return write_task(tmp_path, OWN)


def test_paths_of_an_own_file_start_from_its_folder(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (own, str(own), "own.yaml", "./own.yaml"):
        task = load_task(path)
        assert task.missing() is None
        assert task.source().samples()[0].id == "own/a/0"
        monkeypatch.chdir(tmp_path / "im")
        assert task.source().samples()[0].id == "own/a/0"
        monkeypatch.chdir(tmp_path)


def test_a_data_root_goes_before_the_folder_where_it_holds_the_data(own, tmp_path, monkeypatch):
    root = tmp_path / "root"
    save(root / "im" / "b.png", noise(3, 4))
    save(root / "gt" / "b.png", blob(3, 4))
    task = load_task(own)
    assert task.source(root).samples()[0].ref_id == "b"
    monkeypatch.setenv("HLMAT_DATA", str(root))
    assert task.source().samples()[0].ref_id == "b"
    with pytest.raises(UsageError, match=f"needs other, which is not under {root}:"):
        task.source(root, overrides={"masks": "other"})
    monkeypatch.setenv("HLMAT_DATA", str(tmp_path / "elsewhere"))
    assert task.source().samples()[0].ref_id == "a"


def test_the_environment_names_the_data_root(own, monkeypatch):
    task = load_task("hres_dis")
    monkeypatch.setenv("HLMAT_DATA", "/nowhere")
    with pytest.raises(UsageError, match="not under /nowhere"):
        task.source()


def test_overrides_are_checked_like_the_file(own):
    task = load_task(own)
    assert task.source(overrides={"expression": "the cup"}).samples()[0].expression == "the cup"
    assert task.source().samples()[0].expression == "it"
    with pytest.raises(UsageError, match=r"data settings of own called 'treshold'. Did you mean threshold"):
        task.source(overrides={"treshold": 3})
    with pytest.raises(UsageError, match=r"data.missing of .* is 'ignore', which does not fit"):
        task.source(overrides={"missing": "ignore"})
    with pytest.raises(UsageError, match="needs other, which is not under"):
        task.source(overrides={"masks": "other"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "is not readable YAML"),
        ("- a\n- b", "should hold fields"),
        ("", "should hold fields"),
        ("!!python/object/apply:os.system ['true']", "is not readable YAML"),
        ("source: {kind: synth}", "The field name of .* is missing"),
        ("name: a b\nsource: {kind: synth}", "The field name of .* is 'a b', which does not fit"),
        ("name: x", "The field source of .* is missing"),
        ("name: x\nsource: {}", "The field source.kind of .* should be one of coco, .*mask_folder, .*refer"),
        (
            "name: x\nsource: {kind: folder}",
            "source.kind of .*: There is no layout called 'folder'. Did you mean mask_folder.* Layouts are coco,",
        ),
        ("name: x\nsource: synth", "The field source.kind of .* should be one of coco"),
        ("name: x\nsource: {kind: refer}", "The field source.refs of .* is missing"),
        ("name: x\nsource: {kind: synth, cont: 3}", "Did you mean count"),
        ("name: x\nsource: {kind: synth, count: few}", "The field source.count of .* is 'few', which does not fit"),
        ("name: x\nsource: {kind: synth}\nlicense: MIT", "called 'license'. Did you mean licence"),
        ("name: x\nsource: {kind: synth}\nexpected: {image: 3}", "called 'image'. Did you mean images"),
        ("name: x\nsource: {kind: synth}\nversion: 0", "The field version of .* is 0, which does not fit"),
        ("name: x\nsource: {kind: synth}\nkind: other", "The field kind of .* is 'other', which does not fit"),
        ("name: x\nsource: {kind: synth}\nprotocol: {budgets: 3}", "The field protocol of .*budget"),
    ],
    ids=range(18),
)
def test_a_wrong_file_is_one_sentence_that_names_it(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_task(path)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="There is no task file"):
        load_task(tmp_path / "none.yaml")


def test_a_minimal_file_has_defaults(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("name: mine\nsource: {kind: table}\n")
    task = load_task(path)
    assert (task.version, task.group, task.kind, task.protocol) == (1, "own", "segmentation", {})
    assert task.expected.expressions is None


def test_a_file_may_extend_one_of_ours(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: hres_dis\nkind: filtering\nfiltering: {positive: [2, 2]}\n")
    task, base = load_task(path), load_task("hres_dis")
    assert (task.name, task.kind, task.filtering.positive) == ("mine", "filtering", (2, 2))
    assert (task.sources, task.licence, task.protocol) == (base.sources, base.licence, base.protocol)
    path.write_text("name: mine\nextends: refine_hres_dis\n")
    assert (load_task(path).kind, load_task(path).sources) == ("refinement", base.sources)
    path.write_text("name: mine\nextends: hres_diss\n")
    with pytest.raises(UsageError, match="no task to extend called 'hres_diss'. Did you mean hres_dis"):
        load_task(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("refinement: {}", "a task of the kind segmentation has no section refinement"),
        ("kind: refinement\nrefinement: {defects: [rotten]}", "refinement.defects.0"),
        ("kind: refinement\nrefinement: {defects: []}", "refinement.defects"),
        ("kind: refinement\nrefinement: {band: []}", "'band'. Did you mean bands"),
        ("kind: refinement\nrefinement: {bands: [[0.9, 0.5]]}", "a band is two IoUs from 0 to 1"),
        ("kind: filtering\nfiltering: {positive: [3, 1]}", "the least and the greatest number"),
    ],
)
def test_sections_of_masks_are_checked(tmp_path, text, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nsource: {{kind: synth}}\n{text}\n")
    with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
        load_task(path)
    assert "\n" not in str(caught.value)


def test_our_files_use_no_field_twice():
    for path in folder("tasks").glob("*.yaml"):
        keys = re.findall(r"^(\w+):", path.read_text(), re.MULTILINE)
        assert len(keys) == len(set(keys)) == len(yaml.safe_load(path.read_text()))


def test_loading_a_task_imports_nothing_heavy():
    code = (
        "import sys, hlmat_bench.data.tasks as t; t.load_task('res_refcoco_val'); "
        "print([m for m in ('torch', 'transformers', 'openai', 'pandas', 'cv2') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["grabcut", "berkeley", "davis", "coco_mval", "res_refcoco_testB"])
def test_the_folder_of_real_files_is_a_data_root(shared, name):
    task = load_task(name)
    assert task.missing(shared / "realdata") is None
    assert task.source(shared / "realdata").samples()
