"""A worker for SegAgent-Qwen, in an environment with old packages: Python 3.8 to 3.11, transformers 4.31.

pip install transformers==4.31.0 "numpy<2" torch torchvision accelerate==0.21.0 tiktoken einops matplotlib pillow \
    transformers-stream-generator==0.0.5

It asks the model like the evaluator of aim-uofa/SegAgent (evaltools/model_loader.py, commit 21eca0a), with the same
chat around the prompt, greedy decoding and one image at a time. Also give it that evaluator's prompt and JPEG images:
--model command,run="python examples/segagent_worker.py CHECKPOINT",image_format=jpeg,quality=75,subsampling=420
"""

import base64
import hashlib
import json
import os
import pathlib
import sys
import tempfile

MESSAGES = os.fdopen(os.dup(1), "w")  # standard output is only for messages
os.dup2(2, 1)  # what libraries print goes to the log

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nPicture 1: <img>{}</img>\n{}<|im_end|>\n<|im_start|>assistant\n"
)


class Model:
    """A Qwen-VL-Chat that was fine-tuned to click."""

    def __init__(self, folder):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        options = {"trust_remote_code": True}
        self.tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        self.model = AutoModelForCausalLM.from_pretrained(folder, device_map=self.device, **options).eval()
        self.stops = [self.tokenizer.im_end_id, self.tokenizer.im_start_id, self.tokenizer.eod_id]

    def generate(self, image, prompt, n, temperature, max_tokens, seed):
        """Return the fields of a reply; the image is the bytes of a file, which Qwen-VL opens by its path."""
        options = {"max_new_tokens": max_tokens, "eos_token_id": self.stops, "pad_token_id": self.stops[-1]}
        options["do_sample"] = temperature > 0
        if temperature > 0:
            options.update(temperature=temperature, top_p=1.0, top_k=0)
            torch.manual_seed(seed)
        with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
            file.write(image)
            file.flush()
            asked = self.tokenizer(CHAT.format(file.name, prompt), return_tensors="pt").input_ids.to(self.device)
            tokens = self.model.generate(asked.repeat(n, 1), **options)
        replies = [self.read(row) for row in tokens[:, asked.size(1) :].tolist()]
        names = ("texts", "tokens_out", "finish")
        return dict(zip(names, (list(values) for values in zip(*replies))), tokens_in=asked.size(1))

    def read(self, row):
        """Return the text before the end of the turn, how many tokens it took, and why it ended."""
        ends = [at for at, token in enumerate(row) if token in self.stops]
        if not ends:
            return self.tokenizer.decode(row), len(row), "length"
        return self.tokenizer.decode(row[: ends[0]]), ends[0] + 1, "stop"


def sha256(folder):
    """Return the SHA-256 (hex) over all files with weights, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted([*pathlib.Path(folder).glob("*.bin"), *pathlib.Path(folder).glob("*.safetensors")]):
        with path.open("rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                digest.update(chunk)
    return digest.hexdigest()


def send(**message):
    """Write one message in one line, without delay."""
    print(json.dumps(dict(message, schema="hlmat-worker/1")), file=MESSAGES, flush=True)


model = Model(sys.argv[1])
send(type="hello", name="segagent-qwen", version="1", weights=sha256(sys.argv[1]), points="segagent-qwen")
for line in sys.stdin:
    for request in json.loads(line)["requests"]:
        number, image = request.pop("id"), base64.b64decode(request.pop("image"))
        send(type="reply", id=number, **model.generate(image, **request))
