"""The stand-ins do what they say, seen by the libraries they stand in for."""

from __future__ import annotations

import base64
import http.client
import io
import json
import subprocess
import sys
from email.message import Message
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from hlmat_bench.testing import (
    TINY_SAM,
    Answer,
    ChatServer,
    Failure,
    Family,
    completion,
    tiny_sam,
    tiny_sam_of,
    tiny_vlm,
)


def send(
    server: ChatServer, body: dict[str, Any], key: str = "k", path: str = "/chat/completions"
) -> tuple[int, Message, bytes]:
    """Status, headers and body of the response."""
    connection = http.client.HTTPConnection(server.base_url.split("/")[2], timeout=10)
    try:
        connection.request("POST", f"/v1{path}", json.dumps(body), {"Authorization": f"Bearer {key}"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def post(server: ChatServer, body: dict[str, Any], **options: str) -> dict[str, Any]:
    status, _, data = send(server, body, **options)
    assert status == 200
    answer: dict[str, Any] = json.loads(data)
    return answer


def message(text: str, image: np.ndarray | None = None) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if image is not None:
        file = io.BytesIO()
        Pillow.fromarray(image).save(file, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


def test_the_server_hands_over_image_and_prompt() -> None:
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    seen: list[Any] = []

    def answer(body: dict[str, Any], image: np.ndarray | None, prompt: str) -> Answer:
        seen.append((body["model"], image, prompt))
        return "one two"

    with ChatServer(answer) as server:
        body = post(server, message("hello", image))
        post(server, {"model": "m", "messages": [{"role": "user", "content": "plain"}]})
    assert body["choices"][0]["message"]["content"] == "one two"
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert np.array_equal(seen[0][1], image)
    assert (seen[0][2], seen[1]) == ("hello", ("m", None, "plain"))
    assert [asked.media_type for asked in server.asked] == ["image/png", ""]


def test_the_server_answers_n_times_or_as_told() -> None:
    answers: list[Answer] = ["x", ["y", "z"], completion(["w"]), {"odd": 1}]
    with ChatServer(lambda *_: answers.pop(0)) as server:
        bodies = [post(server, {**message("hello"), "n": 2}) for _ in range(4)]
    said = [[choice["message"]["content"] for choice in body.get("choices", [])] for body in bodies]
    assert said == [["x", "x"], ["y", "z"], ["w"], []]


def test_the_server_fails_as_told() -> None:
    answers: list[Answer] = [Failure(503, headers={"Retry-After": "9"}, code="busy"), Failure(418, "tea", "text/plain")]
    with ChatServer(lambda *_: answers.pop(0) if answers else Failure(drop=True)) as server:
        status, headers, data = send(server, message("hello"))
        assert (status, headers["Retry-After"], json.loads(data)["error"]["code"]) == (503, "9", "busy")
        status, headers, data = send(server, message("hello"))
        assert (status, headers["Content-Type"], data) == (418, "text/plain", b"tea")
        with pytest.raises(http.client.RemoteDisconnected):
            send(server, message("hello"))


def test_the_server_breaks_connections_as_told() -> None:
    with ChatServer(lambda *_: Failure(reset=True)) as server, pytest.raises(ConnectionResetError):
        send(server, message("hello"))
    with ChatServer(lambda *_: Failure(200, "0123456789", cut=True)) as server:
        with pytest.raises(http.client.IncompleteRead) as caught:
            send(server, message("hello"))
        assert caught.value.partial == b"01234"


def test_the_server_knows_its_key_its_models_and_its_path() -> None:
    with ChatServer(lambda *_: "x", key="right", models=["m"]) as server:
        assert send(server, message("hello"), key="wrong")[0] == 401
        assert send(server, message("hello"), key="right", path="/other")[0] == 404
        assert send(server, {**message("hello"), "model": "other"}, key="right")[0] == 404
        assert post(server, message("hello"), key="right")["model"] == "m"


def test_a_hanging_server_can_be_left_at_once() -> None:
    with ChatServer(lambda *_: Failure(hang=3600)) as server:
        address = server.base_url.split("/")[2]
        connection = http.client.HTTPConnection(address, timeout=0.2)
        connection.request("POST", "/v1/chat/completions", json.dumps(message("hello")))
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("family", get_args(Family))
def test_a_tiny_vlm_says_what_it_should(family: Family, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    says = ["<ref>", "cat", "</ref>", " Positive point: (500, 500)"]
    folder = tiny_vlm(tmp_path / "vlm", family, says=says)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2 << 20
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    for shape in ((60, 90), (200, 100)):
        image = Pillow.fromarray(np.zeros((*shape, 3), dtype=np.uint8))
        talk = [
            {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "where? <box>"}]}
        ]
        inputs = processor.apply_chat_template(
            talk, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=20)[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(ids[:-1]) == "".join(says)
        assert ids[-1] == processor.tokenizer.eos_token_id


def test_the_tiny_checkpoints_are_the_same_every_time(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    sams = [tiny_sam(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    states = [torch.load(sam.checkpoint, weights_only=True) for sam in sams]
    name = "mask_decoder.iou_token.weight"
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0][name], states[2][name])
    others = [tiny_sam_of(tmp_path / f"s{i}", "sam2") for i in range(2)]
    assert len({(other / "model.safetensors").read_bytes() for other in others}) == 1
    vlms = [tiny_vlm(tmp_path / f"v{i}") for i in range(2)]
    assert len({(vlm / "model.safetensors").read_bytes() for vlm in vlms}) == 1
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers were touched


def test_a_tiny_sam_holds_the_same_weights_in_both_formats(tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import SamConfig

    sam = tiny_sam(tmp_path)
    official = torch.load(sam.checkpoint, weights_only=True)
    other = load_file(sam.pretrained / "model.safetensors")
    assert sorted(value.sum().item() for value in other.values()) == sorted(v.sum().item() for v in official.values())
    assert SamConfig.from_pretrained(sam.pretrained).vision_config.image_size == TINY_SAM.input_size


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, hlmat_bench.testing; "
        "print([m for m in ('torch', 'transformers', 'openai', 'pandas', 'cv2') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
