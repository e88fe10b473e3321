"""Judging without what is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import UserError
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params
from pipelines.stages.evaluate import main

NAME = "ddgan-25-gaussians"


@pytest.mark.parametrize("content", [None, '{"nfe": 4'])
def test_samples_that_are_not_there_or_cut_are_said(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        samples = tmp_path / "samples" / NAME
        samples.mkdir(parents=True)
        (samples / "sampling.json").write_text(content)
    with pytest.raises(UserError, match=f"sampling.json.*sample@{NAME}"):
        main(NAME, load_params(REPOSITORY / "pipelines/diffusion_gan/params.yaml"))
