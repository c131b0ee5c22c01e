"""A server of LitServe around a model that always says the same; its arguments are the port and the reply."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import litserve
from fastapi import HTTPException


class Clicker(litserve.LitAPI):
    """Knows the model `clicker`; the model `broken` meets a fault of the server's own code."""

    def setup(self, device: Any) -> None:
        self.says = sys.argv[2]

    def predict(self, request: Any) -> Iterator[str]:
        if request.model == "broken":
            raise ZeroDivisionError("a fault in the code of this server")
        if request.model != "clicker":
            raise HTTPException(404, f"There is no model {request.model}.")
        assert [part.type for part in request.messages[-1].content if part.type == "image_url"], "there is no image"
        yield self.says


if __name__ == "__main__":
    api = Clicker(spec=litserve.OpenAISpec())
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
