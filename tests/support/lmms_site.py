"""lmms-eval as a user has it, with a package that brings it a model (`lmms_clicker`), for the tests of both ways."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageFile

from hlmat_bench.protocol import plugins
from tests.support.installed import declare

ON_CPU = {"device": "cpu", "device_map": "cpu"}


@contextmanager
def entered(place: Path) -> Iterator[Path]:
    """lmms-eval in this process, offline, without its switch for damaged images; the package is in the folder."""
    _install(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
        from lmms_eval import models

        models.MODEL_REGISTRY_V2.load_entrypoint_manifests(overwrite=True)
        yield place


def _install(place: Path) -> None:
    shutil.copy(Path(__file__).with_name("lmms_clicker.py"), place)
    (place / "lmms_clicker_with_more.py").write_text("import a_package_that_nobody_has\n")
    declare(place, "lmms-clicker", "[lmms_eval.models]\nclicker = lmms_clicker:MODELS\n")


def model(**options: Any) -> Any:
    """Return the adapter's model."""
    return plugins.build("model", "lmms", {"points": "xy1000", **options})
