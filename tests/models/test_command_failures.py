"""The command adapter with real worker processes: what goes wrong, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlmat_bench.core import images
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.models.worker.process import WorkerLost, WorkerProcess
from hlmat_bench.runs.run import run
from tests.support.workers import (
    CANARY,
    ROOT,
    WORKER,
    CommandModel,
    await_that,
    ended,
    gone,
    plain,
    request,
    starts,
    texts,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_folder_for_temporary_files")]

# What goes wrong


def test_a_crash_is_asked_again_once(worker: Any, tmp_path: Path) -> None:
    model = worker("def answer(request):\n    if once('crashed'): os._exit(3)\n    reply(request)")
    assert texts(model, request()) == [["Positive point: (500, 500)"]]
    assert len(starts(tmp_path)) == 2


def test_a_request_that_crashes_the_worker_twice_fails_and_the_next_is_answered(worker: Any, tmp_path: Path) -> None:
    model = worker("def answer(request):\n    if request['prompt'] == 'bad': os._exit(3)\n    reply(request)")
    for _ in range(3):
        with pytest.raises(RequestFailed, match="the worker ended with exit code 3") as caught:
            model.reply_batch([request("bad")])
        assert str(model.log) in caught.value.advice
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
    with pytest.raises(RequestFailed, match="the worker says: too large") as caught:
        model.reply_batch([request("bad"), request("good")])
    assert str(model.log) in caught.value.advice
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
    with pytest.raises(UsageError, match="After a restart the worker describes another model: .*'xyz'.*'abc'"):
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
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    command = [sys.executable, "-m", "hlmat_bench", "run", "--task", task, "--segmenter", tool, "--grace", "1"]
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
