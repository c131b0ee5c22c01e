"""The command adapter with real worker processes: what is sent, and what a worker says of itself."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import io
import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from hlmat_bench.core.errors import UsageError
from hlmat_bench.models.worker.messages import ErrorMessage, Hello, ReplyMessage, read
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import BatchModel, Model
from hlmat_bench.runs.run import run
from tests.support.workers import (
    EXAMPLE,
    ROOT,
    WORKER,
    CommandModel,
    await_that,
    gone,
    plain,
    request,
    starts,
    texts,
)

pytestmark = pytest.mark.usefixtures("own_folder_for_temporary_files")

IN_PROCESS = """
import hashlib, pathlib
from hlmat_bench.core import images
from hlmat_bench.interfaces import Reply
from hlmat_bench.points import PointFormat

class Same:
    name, points = "same", PointFormat.named("xy1000")
    def __init__(self, checkpoint):
        self.weights = hashlib.sha256(pathlib.Path(checkpoint).read_bytes()).hexdigest()
    async def reply(self, request):
        image = images.encode(request.image, "png")
        drawn = hashlib.sha256(self.weights.encode() + image + request.prompt.encode()).digest()
        return [Reply(f"Positive point: ({drawn[0] * 3}, {drawn[1] * 3})")] * request.n

MODELS = {"same": Same}
"""


# The example


def test_the_example_plays_as_the_same_model_in_process_and_twice_the_same(
    task: str, tool: str, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    (tmp_path / "same.py").write_text(IN_PROCESS)
    start = tmp_path / "start.sh"
    start.write_text(f"#!/bin/sh\necho loading >&2\nexec {sys.executable} {EXAMPLE} weights.bin\n")
    start.chmod(start.stat().st_mode | stat.S_IXUSR)
    spec = f"command,run=./start.sh,cwd={tmp_path},points=xy1000,batch_size=4,log={tmp_path}/log"

    made = [run(spec, task, tool, limit=6, budget=3, out=tmp_path / name) for name in ("a", "b")]
    same = run(
        f"{tmp_path}/same.py,checkpoint={tmp_path}/weights.bin", task, tool, limit=6, budget=3, out=tmp_path / "c"
    )
    assert plain(made[0]) == plain(made[1]) == plain(same)
    assert all("loading" in (run_made.folder / "model.log").read_text() for run_made in made)
    assert len({step["raw"] for episode in plain(same) for step in episode["steps"]}) == 18
    assert made[0].manifest["model"] == {
        "name": "example",
        "kind": "model",
        "adapter": "command",
        "worker": {
            "name": "example",
            "version": "1",
            "weights": hashlib.sha256(b"weights").hexdigest(),
            "deterministic": True,
        },
        "image": {"format": "png"},
    }


def test_the_example_is_short_and_needs_nothing_but_python_3_8() -> None:
    code = EXAMPLE.read_text()
    assert len(code.splitlines()) <= 40
    tree = ast.parse(code, feature_version=(3, 8))
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert set(imports) <= sys.stdlib_module_names
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_the_worker_of_segagent_is_python_3_8_and_asks_as_the_evaluator_does() -> None:
    """The chat around the prompt, copied from evaltools/model_loader.py:338 of aim-uofa/SegAgent, commit 21eca0a."""
    tree = ast.parse((ROOT / "examples" / "segagent_worker.py").read_text(), feature_version=(3, 8))
    [chat] = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "CHAT"]
    assert ast.literal_eval(chat) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nPicture 1: <img>{}</img>\n"
        "{}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_what_the_example_prints_goes_to_the_log(tmp_path: Path) -> None:
    noisy = EXAMPLE.read_text().replace("drawn = ", "print('a banner'); os.system('echo from C'); drawn = ")
    (tmp_path / "worker.py").write_text(noisy)
    model = CommandModel(
        f"{sys.executable} worker.py worker.py", "xy1000", cwd=str(tmp_path), log=str(tmp_path / "log")
    )
    assert texts(model, request())[0][0].startswith("Positive point")
    asyncio.run(model.close())
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["a banner", "from C"]


# What is sent and what comes back


def test_the_worker_gets_everything_a_request_says_and_the_pixels_as_they_are(worker: Any) -> None:
    model = worker(
        "def answer(request):\n"
        "    from PIL import Image\n"
        "    image = Image.open(io.BytesIO(base64.b64decode(request.pop('image'))))\n"
        "    request['pixels'] = hashlib.sha256(image.tobytes()).hexdigest()\n"
        "    reply(request, json.dumps(request))"
    )
    asked = request("größe 猫 \u2028\n'\"", n=2, temperature=0.5)
    [[text, again]] = texts(model, asked)
    said = json.loads(text)
    assert isinstance(said.pop("id"), int)
    assert said == {
        "prompt": "größe 猫 \u2028\n'\"",
        "n": 2,
        "temperature": 0.5,
        "max_tokens": 33,
        "seed": 7,
        "pixels": hashlib.sha256(asked.image.tobytes()).hexdigest(),
    }
    assert again == text


def test_a_jpeg_of_segagent_is_the_one_pillow_saves_by_itself(worker: Any) -> None:
    """Quality 75 and 4:2:0: what `image.save(path)` does in the evaluator of aim-uofa/SegAgent."""
    model = worker(
        "def answer(request):\n    reply(request, request['image'])", image_format="jpeg", quality=75, subsampling=420
    )
    [[text]] = texts(model, request())
    by_itself = io.BytesIO()
    Pillow.fromarray(request().image).save(by_itself, "JPEG")
    sent = Pillow.open(io.BytesIO(base64.b64decode(text)))
    assert np.array_equal(np.asarray(sent), np.asarray(Pillow.open(by_itself)))
    assert model.spec()["image"] == {"format": "jpeg", "quality": 75, "subsampling": "4:2:0"}


def test_a_batch_is_one_message_and_its_answers_may_come_in_any_order(worker: Any) -> None:
    model = worker(
        "waiting = []\n"
        "def answer(request):\n"
        "    waiting.append(request)\n"
        "    if len(waiting) == 3:\n"
        "        for each in reversed(waiting): reply(each, each['prompt'])"
    )
    assert texts(model, request("a"), request("b"), request("c")) == [["a"], ["b"], ["c"]]


def test_at_temperature_0_one_text_stands_for_all(worker: Any) -> None:
    model = worker("def answer(request):\n    reply(request, str(request['n']))")
    assert texts(model, request(n=3), request(n=3, temperature=1.0)) == [["1"] * 3, ["3"] * 3]


def test_counts_ends_and_times_reach_the_replies(worker: Any) -> None:
    model = worker(
        "def answer(request):\n    reply(request, tokens_in=300, tokens_out=[12, 13], finish=['stop', 'length'])"
    )
    [replies] = model.reply_batch([request(n=2, temperature=1.0)])
    assert [(reply.tokens_in, reply.tokens_out, reply.finish) for reply in replies] == [
        (300, 12, "stop"),
        (300, 13, "length"),
    ]
    assert all(reply.seconds > 0 and reply.cost is None for reply in replies)


def test_it_is_a_batch_model_that_may_also_be_asked_at_once(worker: Any) -> None:
    model = worker("def answer(request):\n    reply(request, request['prompt'])", batch_size=2)
    assert isinstance(model, BatchModel)
    assert isinstance(model, Model)

    async def ask() -> list[str]:
        answers = await asyncio.gather(*(model.reply(request(str(number))) for number in range(8)))
        return [reply.text for [reply] in answers]

    assert asyncio.run(ask()) == [str(number) for number in range(8)]


def test_the_documented_messages_are_these(worker: Any) -> None:
    blocks = re.findall(r"```jsonl\n(.*?)```", (ROOT / "docs" / "workers.md").read_text(), re.DOTALL)
    messages = [json.loads(line) for block in blocks for line in block.splitlines()]
    asked = [message for message in messages if message["type"] == "generate"]
    said = [read(message) for message in messages if message["type"] != "generate"]
    assert [message.type for message in said] == ["hello", "reply", "error", "error"]
    model = worker("def answer(request):\n    reply(request, json.dumps(sorted(request)))")
    assert texts(model, request()) == [[json.dumps(sorted(asked[0]["requests"][0]))]]
    fields = {name for message in messages for name in message}
    assert fields == {name for kind in (Hello, ReplyMessage, ErrorMessage) for name in kind.model_fields} | {
        "schema",
        "requests",
    }


# What it says of itself


def test_name_points_and_determinism_come_from_the_worker_unless_given(worker: Any) -> None:
    model = worker("_hello = hello\ndef hello(): _hello(deterministic=False)")
    assert (model.name, model.points, model.deterministic) == ("w", PointFormat.named("xy1000"), False)
    assert worker(name="mine", points="xy1000").name == "mine"


@pytest.mark.parametrize(
    ("greeting", "options", "said"),
    [
        ("points='yx1000'", {"points": "xy1000"}, "The worker writes points as yx1000; leave out points=xy1000"),
        ("points=None", {}, "command needs points="),
        ("weights=''", {}, "The worker did not start: the worker broke the message format: hello.weights"),
        ("schema='hlmat-worker/2'", {}, "the worker speaks 'hlmat-worker/2' instead of 'hlmat-worker/1'"),
        ("type='goodbye'", {}, "the worker broke the message format: type"),
        ("type='reply', id=1, texts=[]", {}, "the worker answered before its message hello"),
        ("type='error', message='no such checkpoint', fatal=True", {}, "The worker says: no such checkpoint"),
    ],
)
def test_a_greeting_that_cannot_be_is_one_sentence_and_the_worker_ends(
    worker: Any, tmp_path: Path, greeting: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as error:
        worker(f"_hello = hello\ndef hello(): _hello(**dict({greeting}))", **options)
    assert said in str(error.value)
    assert await_that(lambda: gone(starts(tmp_path)[0]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "command needs run="),
        ({"run": ""}, "run= is empty"),
        ({"run": "python 'worker.py"}, "run=python 'worker.py is not a command line: No closing quotation."),
        ({"run": "./there-is-none --ckpt x"}, "The worker cannot be started: No such file or directory: ./there-is"),
        ({"run": "true", "cwd": "/there/is/none"}, "There is no folder /there/is/none to run the worker in"),
        ({"run": "true", "log": "/there/is/none"}, "No such file or directory: /there/is/none"),
        ({"run": "true", "image_format": "gif"}, "There is no image format called 'gif'"),
        ({"run": "true", "timeout": "soon"}, "timeout=soon must be a number above 0."),
        ({"run": "true", "batch_size": 0}, "batch_size=0 must be a number above 0."),
        ({"run": "true", "points": "zz1000"}, "There is no point format called 'zz1000'"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        CommandModel(**{"points": "xy1000", **options})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_worker_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        CommandModel(f"{sys.executable} no_worker.py", "xy1000", cwd=str(tmp_path))
    said = str(error.value)
    assert said.startswith("The worker did not start: the worker ended with exit code 2; it last printed: ")
    assert "can't open file" in said
    log = Path(said.partition("(all of it is in ")[2].removesuffix(")."))
    assert "can't open file" in log.read_text()


def test_conda_run_is_told_to_pass_the_streams_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conda = tmp_path / "conda"
    conda.write_text(
        '#!/bin/sh\n[ "$1 $2 $3 $4" = "run --no-capture-output -n old" ] || exec </dev/null >/dev/null\n'
        'shift 4\nexec "$@"\n'
    )
    conda.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", ""))
    model = CommandModel(f"conda run -n old {sys.executable} worker.py", cwd=str(tmp_path), log=str(tmp_path / "log"))
    assert texts(model, request()) == [["Positive point: (500, 500)"]]
    asyncio.run(model.close())
