"""The DAG, as DVC itself sees it, and its picture."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from components.errors import UserError
from pipelines.report.workflow import Stage, Workflow, find_edges, read_workflow, resolve
from pipelines.report.workflow_picture import BOX_HEIGHT, BOX_WIDTH, draw_workflow
from pipelines.runtime.identity import REPOSITORY
from pipelines.runtime.settings import load_params

SVG = "{http://www.w3.org/2000/svg}"


def real_params() -> dict[str, object]:
    return load_params(REPOSITORY / "params.yaml").model_dump(mode="json")


def test_stages_and_edges_are_those_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC's own graph of the repository's dvc.yaml is the reference."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    with Repo(str(tmp_path)) as repo:
        names = {stage.addressing for stage in repo.index.stages}
        edges = {(b.addressing, a.addressing) for a, b in repo.index.graph.edges()}
    stages = resolve(yaml.safe_load(Path("dvc.yaml").read_text()), real_params())
    assert {stage.name for stage in stages} == names
    assert set(find_edges(stages)) == edges


def test_only_what_lies_upstream_is_kept() -> None:
    workflow = read_workflow(REPOSITORY / "dvc.yaml", real_params(), ["pretrain@vae-toy", "none"])
    assert {stage.name for stage in workflow.stages} == {
        "fetch@25-gaussians",
        "shard@25-gaussians",
        "pretrain@vae-toy",
    }
    assert set(workflow.edges) == {
        ("fetch@25-gaussians", "shard@25-gaussians"),
        ("shard@25-gaussians", "pretrain@vae-toy"),
    }


def test_expressions_are_filled_in() -> None:
    content = yaml.safe_load(
        """
        stages:
          one: {cmd: x, deps: ["${top.folder}/a"], outs: [{"b": {cache: false}}]}
          two: {foreach: [p, q], do: {cmd: x, deps: [b/c], outs: ["${ item }-${key}"]}}
          three: {foreach: "${top.map}", do: {cmd: x, deps: ["${item.from}"], metrics: ["${key}"]}}
        """
    )
    params = {"top": {"folder": "data", "map": {"r": {"from": "p-p"}}}}
    stages = resolve(content, params)
    assert [(stage.name, stage.deps, stage.outs) for stage in stages] == [
        ("one", ("data/a",), ("b",)),
        ("two@p", ("b/c",), ("p-p",)),
        ("two@q", ("b/c",), ("q-q",)),
        ("three@r", ("p-p",), ("r",)),
    ]
    assert find_edges(stages) == [("one", "two@p"), ("one", "two@q"), ("two@p", "three@r")]


def test_folders_are_not_prefixes_of_names() -> None:
    writer = Stage("write", "", (), ("models/vae",))
    reader = Stage("read", "", ("models/vae-toy",), ("x",))
    assert find_edges([writer, reader]) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "run from the repository's folder"),
        ("stages: [", "is no DVC file"),
        ("nothing: here", "is no DVC file"),
        ("[]", "is no DVC file"),
        ('stages: {a: {cmd: x, deps: ["${gone.key}"]}}', "the settings have no gone.key"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "dvc.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_workflow(path, {}, ["a"])


def drawn(workflow: Workflow, roles: dict[str, str] | None = None) -> ET.Element:
    markup = draw_workflow(workflow, roles or {})
    return ET.fromstring(markup.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_each_stage_has_a_box_and_no_two_overlap() -> None:
    workflow = read_workflow(
        REPOSITORY / "dvc.yaml",
        real_params(),
        [f"evaluate@{n}" for n in ("vaebm-fashion", "vae-toy")],
    )
    svg = drawn(workflow, {"vae-toy": "base"})
    boxes = [box for box in svg.iter(f"{SVG}g")]
    titles = [box.findtext(f"{SVG}title") for box in boxes]
    assert sorted(titles) == sorted(f"dvc repro {stage.name}" for stage in workflow.stages)
    assert {t for t, b in zip(titles, boxes, strict=True) if b.get("class") == "box base"} == {
        f"dvc repro {stage.name}" for stage in workflow.stages if stage.key == "vae-toy"
    }
    corners = [
        (float(rect.get("x", "")), float(rect.get("y", ""))) for rect in svg.iter(f"{SVG}rect")
    ]
    for i, (x, y) in enumerate(corners):
        for other_x, other_y in corners[:i]:
            assert abs(x - other_x) >= BOX_WIDTH or abs(y - other_y) >= BOX_HEIGHT


def test_edges_start_and_end_at_their_boxes() -> None:
    chain = [
        Stage("a", "k", (), ("x",)),
        Stage("b", "k", ("x",), ("y",)),
        Stage("c", "k", ("y", "x"), ("z",)),
    ]
    svg = drawn(Workflow(tuple(chain), (("a@k", "b@k"), ("a@k", "c@k"))))
    box = {group.findtext(f"{SVG}title"): group.find(f"{SVG}rect") for group in svg.iter(f"{SVG}g")}

    def side(name: str, shift: float) -> tuple[float, float]:
        rect = box[f"dvc repro {name}"]
        assert rect is not None
        return (
            float(rect.get("x", "")) + shift,
            float(rect.get("y", "")) + BOX_HEIGHT / 2,
        )

    ends = []
    for path in svg.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d", ""))]
        ends.append((tuple(numbers[:2]), tuple(numbers[-2:])))
    assert ends == [
        (side("a@k", BOX_WIDTH), side("b@k", 0.0)),
        (side("a@k", BOX_WIDTH), side("c@k", 0.0)),
    ]


def test_names_are_escaped() -> None:
    (stage,) = (Stage("a", "<b>&", (), ()),)
    assert "<b>" not in draw_workflow(Workflow((stage,), ()), {})
