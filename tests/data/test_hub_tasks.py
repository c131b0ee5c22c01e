"""Tasks ``hf:OWNER/REPO`` and the known copies of data sets."""

from __future__ import annotations

import io
from pathlib import Path

import huggingface_hub.constants
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from hlmat_bench import run
from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.check import check
from hlmat_bench.data.hub_tasks import hub_task_of
from hlmat_bench.data.layouts.copies import identified, known_copies
from hlmat_bench.data.tasks import expand, load_task, task_names
from tests.support.data_files import blob, noise
from tests.support.parquet_files import IMAGE, LMMS, REFERENCES, Refer, write


def png(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def lmms_row(n: int) -> dict:
    return {
        "question_id": str(n),
        "image": {"bytes": png(noise(20, 24, n)), "path": None},
        "answer": [f"thing {n}", f"it {n}"],
        "segmentation": [2.25, 3.1, 15.5, 3.1, 15.5, 12.75, 2.25, 12.75],
        "bbox": [2.25, 3.1, 13.25, 9.65],
        "iscrowd": 0,
        "file_name": f"COCO_train2014_{n:012d}_7.jpg",
    }


@pytest.fixture
def data(tmp_path) -> Path:
    write(tmp_path / "lmms-lab" / "RefCOCO" / "data" / "val-00000-of-00001.parquet", map(lmms_row, range(3)), LMMS)
    schema = pa.schema([("img", IMAGE), ("seg", pa.binary()), ("caption", pa.string()), ("fold", pa.string())])
    rows = [
        {"img": lmms_row(n)["image"], "seg": png(blob(20, 24, n)), "caption": f"thing {n}", "fold": "ab"[n % 2]}
        for n in range(4)
    ]
    write(tmp_path / "me" / "my-set" / "data" / "test-00000-of-00001.parquet", rows, schema)
    return tmp_path


OWN = "hf:me/my-set,split=test,image=img,mask=seg,expression=caption"


def test_a_known_schema_needs_no_columns(data):
    task = load_task("hf:lmms-lab/RefCOCO,split=val")
    assert task.name == "hf_lmms-lab_RefCOCO_val"
    source = task.source(data)
    assert [sample.id for sample in source.samples()][:2] == [
        "hf_lmms-lab_RefCOCO_val/0/0",
        "hf_lmms-lab_RefCOCO_val/0/1",
    ]
    assert source.describe()["schema"] == "lmms-lab"
    assert source.describe()["files"] == "lmms-lab/RefCOCO"
    assert expand("hf:lmms-lab/RefCOCO,split=val") == ["hf:lmms-lab/RefCOCO,split=val"]


def test_columns_are_named_by_settings(data):
    source = load_task(OWN).source(data)
    assert [sample.expression for sample in source.samples()] == [f"thing {n}" for n in range(4)]
    assert (source.truth(source.samples()[2]).mask == blob(20, 24, 2)).all()
    assert (source.image(source.samples()[1]) == noise(20, 24, 1)).all()
    some = load_task("hf:me/my-set,split=b,split_column=fold,image=img,mask=seg,expression=caption,tags=fold").source(
        data
    )
    assert [(sample.expression, dict(sample.tags)) for sample in some.samples()] == [
        ("thing 1", {"fold": "b"}),
        ("thing 3", {"fold": "b"}),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:lmms-lab", "form hf:OWNER/REPO"),
        ("hf:a/b,kind=table", "form hf:OWNER/REPO"),
        ("hf:../x", "form hf:OWNER/REPO"),
        ("hf:a/b,files=../c", "form hf:OWNER/REPO"),
        ("hf:a/b,splt=val", "Did you mean split"),
        ("hf:a/b,split", "must look like key=value"),
        ("hf:no/thing,split=val", "data fetch hf:no/thing,split=val`"),
        ("hf:no/thing@v1,split=val", "data fetch hf:no/thing@v1,split=val`"),
        ("hf:lmms-lab/RefCOCO,split=test", "its splits are val"),
        ("hf:me/my-set", "expression is not known|image is not known|ground truth is not known"),
        ("hf:me/my-set,image=img,mask=segm,expression=caption", "no column 'segm'.*its columns are img, seg, caption"),
        ("hf:me/my-set,image=caption,mask=seg,expression=caption", "holds paths of images"),
        ("hf:me/my-set,image=img,mask=seg,expression=seg", "string or a list of strings"),
        ("hf:lmms-lab/RefCOCO,files=data/val,split=val", "is not under"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(data, spec, said):
    with pytest.raises(UsageError, match=said):
        load_task(spec).source(data)


def test_a_run_records_the_whole_name_and_is_opened_again(data, tmp_path):
    out = tmp_path / "run"
    run("oracle", OWN, budget=1, out=out, data_root=str(data))
    ran = CliRunner().invoke(app, ["redo", str(out), "--sample", "hf_me_my-set_test/1/0"])
    assert ran.exit_code == 0, ran.output
    ran = CliRunner().invoke(app, ["score", str(out), "--replay", "--segmenter", "graphcut", "--data-root", str(data)])
    assert ran.exit_code == 0, ran.output


def test_a_manifest_leads_to_the_task(data):
    for spec in (OWN, "hf:lmms-lab/RefCOCO,split=val", "hf:lmms-lab/RefCOCO,split=val,files=data,threshold=3"):
        task = load_task(spec)
        source = task.source(data)
        again = load_task(hub_task_of(task.name, source.describe()) or "")
        assert again.name == task.name
        assert again.source(data).digest() == source.digest()
    assert hub_task_of("res_refcoco_val", {"kind": "refer", "files": "a/b"}) is None
    assert hub_task_of("hf_x", None) is None


def test_a_task_says_which_copy_lies_there_and_how_it_is_played(data):
    with pytest.raises(UsageError) as caught:
        load_task("res_refcoco_val").source(data)
    said = str(caught.value)
    assert "there is lmms-lab/RefCOCO val, which is not this task: 8,811 rows" in said
    assert "--task hf:lmms-lab/RefCOCO,split=val" in said
    with pytest.raises(UsageError) as caught:
        load_task("res_refcoco_testA").source(data)
    assert "lmms-lab" not in str(caught.value)


def test_copies_are_named_by_their_rows_and_their_repository():
    def names(*of):
        return [copy.name for copy in identified(*of)]

    assert names("lmms-lab", "x/data", "val", 8811, 25000) == ["lmms-lab/RefCOCO val"]
    assert names("lmms-lab", "lmms-lab/RefCOCOplus", "testA", 1975, 5726) == ["lmms-lab/RefCOCOplus testA"]
    assert names("lmms-lab", "hub:lmms-lab/RefCOCOplus@abc", "testA", 1975, 5726) == ["lmms-lab/RefCOCOplus testA"]
    assert names("lmms-lab", "data", "testA", 1975, 5657) == ["lmms-lab/RefCOCO testA", "lmms-lab/RefCOCOplus testA"]
    assert names("lmms-lab", "lmms-lab/RefCOCO", "val", 8810, 25000) == []
    assert names("jxu124", "anywhere", "val", 3811, 10834) == ["jxu124/refcoco val"]
    assert names("ricky06662", "Ricky06662/refcoco_val/data", "test", 3811, 3811) == ["Ricky06662/refcoco_val test"]


def test_known_copies_have_the_published_counts_of_the_tasks_they_are():
    for copy in known_copies():
        if copy.standard and copy.split != "train":
            assert copy.rows == load_task(f"res_{copy.task}").expected.refs
        if copy.task and copy.split != "train" and not copy.task.startswith("reasonseg"):
            assert f"res_{copy.task}" in task_names()


def test_data_check_names_a_copy_and_the_standard_task_refuses_it(tmp_path):
    """1,810 rows of one small image have the counts of lmms-lab/RefCOCO testB."""
    one = lmms_row(1) | {"answer": ["it"]}
    rows = [one | {"file_name": f"COCO_train2014_{1:012d}_{n}.jpg"} for n in range(1810)]
    write(tmp_path / "lmms-lab" / "RefCOCO" / "data" / "testB-00000-of-00001.parquet", rows, LMMS)
    task = load_task("hf:lmms-lab/RefCOCO,split=testB")
    assert task.source(tmp_path).describe()["copy"] == "lmms-lab/RefCOCO testB"
    text = check(task, tmp_path).text()
    assert "this is lmms-lab/RefCOCO testB: 1,810 rows" in text
    path = tmp_path / "own.yaml"
    path.write_text("name: res_refcoco_testB\nsource: {kind: parquet, files: lmms-lab/RefCOCO, split: testB}\n")
    with pytest.raises(UsageError, match="not the data of the task res_refcoco_testB"):
        load_task(path).source(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize("where", ["data root", "cache"])
def test_the_references_of_the_hub_are_the_data_of_the_standard_task(shared, tmp_path, monkeypatch, where):
    """The samples are those of the refer pickle, to the digest, and the manifest says which copy was read."""
    root = shared / "realdata"
    train = root / "refer_seg" / "images" / "mscoco" / "images" / "train2014"
    data = Refer(root / "refer_seg" / "refcoco", "refs(unc).p", train)
    snapshot = tmp_path / "cache" / "datasets--jxu124--refcoco" / "snapshots" / "abc"
    folder = tmp_path / "root" / "jxu124" / "refcoco" if where == "data root" else snapshot
    write(folder / "data" / "validation-00000-of-00001-db1f654bae6b38ca.parquet", data.references(), REFERENCES)
    if where == "cache":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (tmp_path / "root" / "coco").mkdir(parents=True)
    (tmp_path / "root" / "coco" / "train2014").symlink_to(train)
    task = load_task("res_refcoco_testB")
    source, pickled = task.source(tmp_path / "root"), task.source(root)
    assert source.digest() == pickled.digest()
    about = source.describe()
    assert (about["kind"], about["images"]) == ("parquet", "coco/train2014")
    assert about["files"] == ("jxu124/refcoco" if where == "data root" else "hub:jxu124/refcoco@abc")


def test_the_cache_of_the_hub_needs_no_data_root(tmp_path, monkeypatch):
    monkeypatch.delenv("HLMAT_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "datasets--me--my-set"
    for revision, count in (("a" * 40, 1), ("b" * 40, 2)):
        rows = map(lmms_row, range(count))
        write(repository / "snapshots" / revision / "data" / "val-00000-of-00001.parquet", rows, LMMS)
    for name, revision in (("main", "b" * 40), ("v1", "a" * 40)):
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / name).write_text(revision)
    newest, tagged = load_task("hf:me/my-set").source(), load_task("hf:me/my-set@v1").source()
    assert [len(newest.samples()), len(tagged.samples())] == [4, 2]
    assert tagged.describe()["files"] == f"hub:me/my-set@{'a' * 40}"
    again = load_task(hub_task_of("hf_me_my-set", tagged.describe()) or "")
    assert again.source().digest() == tagged.digest() != newest.digest()
