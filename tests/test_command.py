"""The command adapter with real worker processes: what is sent, what goes wrong, what is left behind."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from hlmat_bench import images, plugins
from hlmat_bench.content import folder
from hlmat_bench.errors import RequestFailed, UsageError
from hlmat_bench.interfaces import BatchModel, Model, Request
from hlmat_bench.points import PointFormat
from hlmat_bench.runs import Run, run
from hlmat_bench.worker_messages import Answer, Failure, Hello, read
from hlmat_bench.worker_process import WorkerLost, WorkerProcess

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "worker.py"
CommandModel = plugins.find("model", str(folder("adapters") / "models" / "command.py")).factory
CANARY = "canary-0123456789"

# A worker of the tests: a scenario defines `answer(request)`, and `hello` where it greets otherwise.
WORKER = """
import base64, hashlib, io, json, os, subprocess, sys, time

def send(**message):
    print(json.dumps({"schema": "hlmat-worker/1", **message}), flush=True)

def hello(**more):
    send(**{"type": "hello", "name": "w", "version": "1", "weights": "abc", "points": "xy1000", **more})

def reply(request, text="Positive point: (500, 500)", **more):
    send(**{"type": "reply", "id": request["id"], "texts": [text] * request["n"], **more})

def once(name):
    if os.path.exists(name):
        return False
    open(name, "w").close()
    return True

answer = reply
SCENARIO
print(os.getpid(), file=open("pids", "a"), flush=True)
hello()
for line in sys.stdin:
    for request in json.loads(line)["requests"]:
        answer(request)
"""

IN_PROCESS = """
import hashlib, pathlib
from hlmat_bench import images
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


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes models whose worker follows a scenario; in tmp_path it leaves its process ids in the file pids."""
    models = []

    def start(scenario: str = "", **options: Any) -> Any:
        (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", scenario))
        model = CommandModel(f"{sys.executable} worker.py", cwd=str(tmp_path), log=str(tmp_path / "log"), **options)
        models.append(model)
        return model

    yield start
    for model in models:
        asyncio.run(model.close())


def starts(place: Path) -> list[int]:
    """The process ids of the workers that got as far as their hello."""
    return [int(word) for word in (place / "pids").read_text().split()]


def gone(pid: int) -> bool:
    """No such process, not even one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ended(pid: int) -> bool:
    """Gone, or dead and left to whoever adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return gone(pid)
    return state == "Z"


def await_that(condition: Callable[[], bool]) -> bool:
    """The condition came true within a generous time."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def request(prompt: str = "where is the cat", **changes: Any) -> Request:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    return Request(**{"image": image, "prompt": prompt, "seed": 7, "max_tokens": 33, **changes})


def texts(model: Any, *requests: Request) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in model.reply_batch(requests)]


def plain(made: Run) -> list[dict[str, Any]]:
    """A run's episodes as they are on disk, without their times."""
    episodes = [json.loads(line) for line in (made.folder / "episodes.jsonl").read_text().splitlines()]
    for episode in episodes:
        for step in episode["steps"]:
            del step["seconds"]
    return sorted(episodes, key=lambda episode: str(episode["sample_id"]))


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
    assert fields == {name for kind in (Hello, Answer, Failure) for name in kind.model_fields} | {"schema", "requests"}


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
        ("type='reply', id=1, texts=[]", {}, "the worker answered before it said hello"),
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
        ({"run": "python 'worker.py"}, "run=python 'worker.py is no command line: No closing quotation."),
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


# What goes wrong


def test_a_crash_is_asked_again_once(worker: Any, tmp_path: Path) -> None:
    model = worker("def answer(request):\n    if once('crashed'): os._exit(3)\n    reply(request)")
    assert texts(model, request()) == [["Positive point: (500, 500)"]]
    assert len(starts(tmp_path)) == 2


def test_a_request_that_crashes_the_worker_twice_fails_and_the_next_is_answered(worker: Any, tmp_path: Path) -> None:
    model = worker("def answer(request):\n    if request['prompt'] == 'bad': os._exit(3)\n    reply(request)")
    for _ in range(3):
        with pytest.raises(RequestFailed, match="the worker ended with exit code 3"):
            model.reply_batch([request("bad")])
        assert texts(model, request()) == [["Positive point: (500, 500)"]]
    assert len(starts(tmp_path)) == 1 + 3 * 2


def test_a_crash_in_a_batch_spoils_only_its_own_episode(worker: Any, task: str, tool: str, tmp_path: Path) -> None:
    scenario = "def answer(request):\n    if 'left box 0' in request['prompt']: os._exit(3)\n    reply(request)"
    (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", scenario))
    spec = f"command,run={sys.executable} worker.py,cwd={tmp_path},log={tmp_path}/log,batch_size=4"
    episodes = plain(run(spec, task, tool, limit=4, budget=2, out=tmp_path / "run"))
    errors = {episode["expression"]: episode["error"] for episode in episodes}
    assert errors == {
        "the left box 0": "the worker ended with exit code 3",
        "the right box 0": None,
        "the left box 1": None,
        "the right box 1": None,
    }


def test_too_many_crashes_in_a_row_end_the_run_with_the_last_words(worker: Any, tmp_path: Path) -> None:
    scenario = "def answer(request):\n    print('CUDA error:\\n  \\x1b[31mout of luck', file=sys.stderr); sys.exit(7)"
    model = worker(scenario, restarts=2)
    with pytest.raises(RequestFailed):
        model.reply_batch([request()])
    with pytest.raises(UsageError) as error:
        model.reply_batch([request()])
    assert str(error.value) == (
        "The worker was lost 3 times in a row: the worker ended with exit code 7; "
        f"it last printed: CUDA error: /  [31mout of luck (all of it is in {tmp_path}/log)."
    )
    assert len(starts(tmp_path)) == 3


def test_a_worker_that_cannot_load_again_ends_the_run_too(worker: Any) -> None:
    model = worker(
        "if not once('started'): sys.exit('no memory is left')\ndef answer(request): os._exit(1)",
    )
    with pytest.raises(RequestFailed):
        model.reply_batch([request()])
    with pytest.raises(UsageError, match="lost 4 times in a row: .* exit code 1; it last printed: no memory is left"):
        model.reply_batch([request()])


def test_a_worker_that_hangs_is_ended_with_its_children_and_started_again(worker: Any, tmp_path: Path) -> None:
    model = worker(
        "def answer(request):\n"
        "    if request['prompt'] == 'hang':\n"
        "        print(subprocess.Popen(['sleep', '1000']).pid, file=open('children', 'a'), flush=True)\n"
        "        time.sleep(1000)\n"
        "    reply(request)",
        timeout=2,
    )
    with pytest.raises(RequestFailed, match="the worker did not answer within 2 seconds"):
        model.reply_batch([request("hang")])
    children = [int(word) for word in (tmp_path / "children").read_text().split()]
    assert len(children) == 2
    assert await_that(lambda: all(map(gone, starts(tmp_path))) and all(map(ended, children)))
    assert texts(model, request()) == [["Positive point: (500, 500)"]]


def test_a_child_that_escapes_with_the_output_holds_nothing_up(worker: Any, tmp_path: Path) -> None:
    model = worker(
        "def answer(request):\n"
        "    child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "    print(child.pid, file=open('children', 'a'), flush=True)\n"
        "    time.sleep(1000)",
        timeout=1,
    )
    with pytest.raises(RequestFailed, match="the worker did not answer within 1 seconds"):
        model.reply_batch([request()])
    for word in (tmp_path / "children").read_text().split():
        os.kill(int(word), signal.SIGKILL)


def test_a_worker_that_never_reads_is_noticed(worker: Any) -> None:
    """The message is larger than any pipe holds, so writing it stands still."""
    model = worker("_hello = hello\ndef hello():\n    _hello()\n    time.sleep(1000)", timeout=1, restarts=0)
    with pytest.raises(UsageError, match="the worker did not answer within 1 seconds"):
        model.reply_batch([request(image=np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8))])


def test_a_model_that_loads_too_long_is_noticed(worker: Any) -> None:
    with pytest.raises(
        UsageError, match="did not start: the worker did not answer within 1 seconds; it printed nothing"
    ):
        worker("time.sleep(1000)", load_timeout=1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("reply(request, id=request['id'] + 1)", "the worker sent a reply that answers no open request"),
        ("reply(request, id='1')", "the worker broke the message format: reply.id"),
        ("reply(request, texts=['a', 'b'])", "the worker answered with 2 texts where 1 were asked for"),
        ("reply(request, tokens_out=[])", "the worker answered with 0 tokens_out where 1 were asked for"),
        ("reply(request, finish=['eos'])", "the worker broke the message format: reply.finish.0"),
        ("reply(request, texts=[None])", "the worker broke the message format: reply.texts.0"),
        ("hello()", "the worker sent a hello that answers no open request"),
        ('sys.stdout.write(\'{"schema": "hlmat-worker/1", "ty\'); sys.exit()', "the worker ended with exit code 0"),
        ("os.kill(os.getpid(), 9)", "the worker was ended by SIGKILL"),
        ("os.close(1); time.sleep(1000)", "the worker closed its standard output"),
    ],
)
def test_an_answer_that_is_none_fails_the_request_alone(worker: Any, answer: str, said: str) -> None:
    model = worker(f"def answer(request):\n    if request['prompt'] == 'bad': {answer}\n    reply(request)")
    with pytest.raises(RequestFailed) as error:
        model.reply_batch([request("bad")])
    assert said in str(error.value)
    assert texts(model, request()) == [["Positive point: (500, 500)"]]


def test_an_error_of_the_worker_fails_one_request_and_a_fatal_one_the_run(worker: Any, tmp_path: Path) -> None:
    model = worker(
        "def answer(request):\n"
        "    if request['prompt'] == 'good': return reply(request)\n"
        "    send(type='error', id=request['id'], message='too\\nlarge.', fatal=request['prompt'] == 'fatal')"
    )
    with pytest.raises(RequestFailed, match="the worker says: too large"):
        model.reply_batch([request("bad"), request("good")])
    assert texts(model, request("good")) == [["Positive point: (500, 500)"]]
    with pytest.raises(UsageError, match="The worker says: too large"):
        model.reply_batch([request("fatal")])
    assert len(starts(tmp_path)) == 1


def test_a_worker_that_comes_back_as_another_ends_the_run(worker: Any) -> None:
    model = worker(
        "_hello = hello\n"
        "def hello(): _hello(weights='abc' if once('started') else 'xyz')\n"
        "def answer(request): os._exit(1)"
    )
    with pytest.raises(UsageError, match="The worker came back as another: .*'xyz'.*'abc'"):
        model.reply_batch([request()])


def test_megabytes_of_anything_on_both_streams_stop_nothing_and_are_kept(worker: Any, tmp_path: Path) -> None:
    model = worker(
        "def answer(request):\n"
        "    for _ in range(1000):\n"
        "        sys.stdout.write('o' * 4095 + '\\n')\n"
        "        sys.stderr.write('e' * 4095 + '\\n')\n"
        "    sys.stdout.flush()\n"
        "    reply(request)"
    )
    assert len(texts(model, request(), request())) == 2
    kept = (tmp_path / "log").read_bytes()
    assert (kept.count(b"o"), kept.count(b"e")) == (2 * 1000 * 4095, 2 * 1000 * 4095)


MESSAGES = st.dictionaries(st.text(max_size=5), st.integers()).map(
    lambda more: json.dumps(more | {"schema": "hlmat-worker/1"}).encode()
)
JUNK = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from([b"{}", b"[1]", b"null", b'{"schema": "other/1"}', b'{"schema": "hlmat-worker/1"', b"[" * 5000]),
    MESSAGES.map(lambda line: b"| 50% " + line),
)


def is_message(line: bytes) -> bool:
    """By its looks, as the lines above are made."""
    return line.startswith(b"{") and line.endswith(b"}") and b'"schema": "hlmat-worker/1"' in line


@given(lines=st.lists(st.one_of(MESSAGES, JUNK), max_size=12), whole=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_messages_are_told_from_everything_else(tmp_path: Path, lines: list[bytes], whole: bool) -> None:
    said, log = tmp_path / "said", tmp_path / "log"
    written = [line + b"\n" for line in lines]
    if written and not whole:
        written[-1] = lines[-1]
    said.write_bytes(b"".join(written))
    log.unlink(missing_ok=True)
    process = WorkerProcess(["cat", str(said)], None, log)
    messages = [process.receive() for line in lines if is_message(line)]
    with pytest.raises(WorkerLost, match="the worker ended with exit code 0"):
        process.receive()
    process.end()
    assert messages == [json.loads(line) for line in lines if is_message(line)]
    assert log.read_bytes() == b"".join(line for line in written if not is_message(line.rstrip()))


# What is left behind


def test_closing_ends_the_worker_and_what_it_started(worker: Any, tmp_path: Path) -> None:
    model = worker("print(subprocess.Popen(['sleep', '1000']).pid, file=open('pids', 'a'), flush=True)")
    child, pid = starts(tmp_path)
    assert not gone(pid)
    asyncio.run(model.close())
    assert gone(pid)
    assert await_that(lambda: ended(child))
    with pytest.raises(RequestFailed, match="the worker was closed"):
        model.reply_batch([request()])


def test_closing_while_the_worker_thinks_fails_the_request_at_once(worker: Any, tmp_path: Path) -> None:
    model = worker("def answer(request):\n    once('thinking')\n    time.sleep(1000)")

    async def close_meanwhile() -> None:
        asked = asyncio.ensure_future(model.reply(request()))
        await asyncio.to_thread(await_that, (tmp_path / "thinking").exists)
        await model.close()
        with pytest.raises(RequestFailed, match="the worker was closed"):
            await asked

    asyncio.run(close_meanwhile())
    assert [gone(pid) for pid in starts(tmp_path)] == [True]


def test_a_model_that_is_dropped_takes_its_worker_along(worker: Any, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", ""))
    CommandModel(f"{sys.executable} worker.py", cwd=str(tmp_path), log=str(tmp_path / "log"))
    assert await_that(lambda: gone(starts(tmp_path)[0]))


@pytest.mark.parametrize("when", ["loading", "thinking"])
def test_ctrl_c_ends_the_worker(task: str, tool: str, tmp_path: Path, when: str) -> None:
    scenario = {
        "loading": "print(os.getpid(), file=open('pids', 'a'), flush=True)\nonce('now')\ntime.sleep(1000)",
        "thinking": "def answer(request):\n    once('now')\n    time.sleep(1000)",
    }[when]
    (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", scenario))
    command = [sys.executable, "-m", "hlmat_bench", "run", "--task", task, "--segmenter", tool]
    model = ["--model", f"command,run={sys.executable} worker.py,cwd={tmp_path}", "--out", str(tmp_path / "run")]
    user = subprocess.Popen(
        [*command, *model], cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert await_that((tmp_path / "now").exists)
    user.send_signal(signal.SIGINT)
    _, errors = user.communicate(timeout=60)
    assert user.returncode == 130
    assert b"Traceback" not in errors
    assert await_that(lambda: gone(starts(tmp_path)[0]))


def test_nothing_of_the_environment_is_recorded(
    worker: Any, task: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    (tmp_path / "worker.py").write_text(WORKER.replace("SCENARIO", f"assert os.environ['HF_TOKEN'] == '{CANARY}'"))
    spec = f"command,run={sys.executable} worker.py --token {CANARY},cwd={tmp_path},log={tmp_path}/log"
    made = run(spec, task, tool, limit=2, budget=1, out=tmp_path / "run")
    assert made.scores()["n"] == 2
    for path in made.folder.iterdir():
        assert CANARY.encode() not in path.read_bytes()


def test_settings_of_an_image_are_those_that_encode_takes() -> None:
    assert images.settings("jpeg", 80, "4:2:2") == {"format": "jpeg", "quality": 80, "subsampling": "4:2:2"}
    assert images.settings("png", 80, 422) == {"format": "png"}
    for wrong in (("jpeg", 0, 444), ("jpeg", 80, 411), ("bmp", 80, 444)):
        with pytest.raises(UsageError):
            images.settings(*wrong)
