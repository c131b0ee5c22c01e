"""A worker for `--model command`, which serves a model from its own environment. Python 3.8 or later, no packages.

Use: --model command,run="python examples/worker.py CHECKPOINT",points=xy1000. Replace `Model` by your own model.
"""

import base64
import hashlib
import json
import os
import pathlib
import sys

MESSAGES = os.fdopen(os.dup(1), "w")  # standard output is only for messages
os.dup2(2, 1)  # what libraries print goes to the log


class Model:
    """A model whose clicks depend on its weights, the image and the prompt."""

    def __init__(self, checkpoint):
        self.weights = hashlib.sha256(pathlib.Path(checkpoint).read_bytes()).hexdigest()

    def generate(self, image, prompt, n, temperature, max_tokens, seed):
        """Return n texts; the image is the content of a PNG (or JPEG) file, as bytes."""
        drawn = hashlib.sha256(self.weights.encode() + image + prompt.encode()).digest()
        return [f"Positive point: ({drawn[0] * 3}, {drawn[1] * 3})"] * n


def send(**message):
    """Write one message in one line, without delay."""
    print(json.dumps(dict(message, schema="hlmat-worker/1")), file=MESSAGES, flush=True)


model = Model(sys.argv[1])
send(type="hello", name="example", version="1", weights=model.weights)
for line in sys.stdin:  # ends when hlmat-bench does
    for request in json.loads(line)["requests"]:
        number, image = request.pop("id"), base64.b64decode(request.pop("image"))
        send(type="reply", id=number, texts=model.generate(image, **request))
