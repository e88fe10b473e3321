"""The whole workflow, small: real DVC, Ray, MLflow and torch-fidelity, on points and on images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient

from components.models.export import load_model
from components.models.vae import VAE
from components.models.vaebm import VAEBM
from pipelines.runtime.tracking import MODEL_TAG
from tests.pipelines.finished_project import rows, stages_run
from tests.pipelines.small_project import FAR, IMAGES, MODELS, NEAR, POINTS, Project

pytestmark = pytest.mark.pipeline
UP_TO_DATE = "Data and pipelines are up to date."


def figures(project: Project, path: str) -> dict[str, float]:
    content: dict[str, float] = json.loads((project.root / "metrics" / path).read_text())
    return content


def test_all_outputs_are_there(made: Project) -> None:
    for name in MODELS:
        stage = "compose" if name.startswith("vaebm") else "pretrain"
        shape = (250, 2) if name.endswith("toy") else (250, 1, 8, 8)
        for draw in range(2):
            assert np.load(made.root / f"samples/{name}/draw-{draw}.npy").shape == shape
        assert (made.root / f"plots/{stage}/{name}/training.csv").read_text().startswith("step,")
        assert list((made.root / f"plots/evaluate/{name}").glob("*.png"))
        assert isinstance(load_model(made.root / "models" / name), VAEBM) == (stage == "compose")
        assert figures(made, f"sample/{name}.json")["count"] == 250
        assert figures(made, f"{stage}/{name}.json")["rollbacks"] == 0
    assert np.load(made.root / "samples/vaebm-digits/chain.npy").shape == (3, 10, 1, 8, 8)
    assert not list(made.root.rglob(".*.part")), "something was left half-written"
    left = [path.name for path in (made.root / ".ray").iterdir()]
    assert not left, f"checkpoints of finished trainings are kept: {left}"


@pytest.mark.parametrize("name", ["vae-digits", "vaebm-digits"])
def test_figures_of_images(made: Project, name: str) -> None:
    found = figures(made, f"evaluate/{name}.json")
    for extractor in ("classifier", "imagenet"):
        distances = [f"{metric}_{extractor}" for metric in ("frechet", "kid", "is")]
        shares = [f"{metric}_{extractor}" for metric in ("precision", "recall")]
        assert {*distances, *shares, *(f"{key}_std" for key in distances)} <= found.keys()
        assert found[f"frechet_{extractor}"] > found[f"frechet_{extractor}_floor"] > 0.0
        assert all(0.0 <= found[key] <= 1.0 for key in shares)
    for others in (NEAR, FAR, "interpolation", "uniform-noise", "constant"):
        assert all(0.0 <= found[f"{key}_{others}"] <= 1.0 for key in ("auroc", "aupr", "fpr95"))
    assert found["nfe"] == (4 if name.startswith("vaebm") else 1)
    assert found["seconds_per_1000_images"] > 0.0
    assert "fid" not in found  # said of Inception's features alone


@pytest.mark.parametrize("name", ["vae-toy", "vaebm-toy"])
def test_figures_of_points(made: Project, name: str) -> None:
    found = figures(made, f"evaluate/{name}.json")
    assert found["log_likelihood"] < found["log_likelihood_true"] == pytest.approx(-1.1, abs=0.1)
    assert 0.0 <= found["off_mode_fraction"] <= 1.0 and 0 <= found["modes"] <= 25
    assert {"auroc_swiss-roll", "aupr_checkerboard", "mode_kl", "nfe"} <= found.keys()
    tilted = {"log_z", "log_z_error", "log_z_importance", "log_z_importance_error"}
    assert (tilted & found.keys()) == (tilted if name == "vaebm-toy" else set())
    truth = figures(made, f"features/{POINTS}.json")["log_likelihood_true"]
    assert truth == pytest.approx(-1.1, abs=0.1)


def test_report(made: Project) -> None:
    page = (made.root / "report/index.html").read_text()
    assert "data:image/png;base64," in page and "VAE → VAEBM" in page
    table = (made.root / "report/index.txt").read_text()
    assert "toy (25-gaussians)" in table and "digits (digits)" in table
    base, composition = (figures(made, f"evaluate/{kind}-digits.json") for kind in ("vae", "vaebm"))
    for value in (base["frechet_classifier"], composition["frechet_classifier"]):
        assert f"{value:.2f} ±" in table


def test_one_row_a_model(made: Project) -> None:
    by_model = rows(made)
    assert by_model.keys() == {*MODELS, IMAGES}
    settings = made.settings()
    for name, base in (("vaebm-toy", "vae-toy"), ("vaebm-digits", "vae-digits")):
        composition = by_model[name].data
        assert composition.tags["base"] == base and composition.tags["family"] == "composition"
        assert by_model[base].data.tags["family"] == "base"
        steps = settings["compose"][name]["langevin"]["steps"]
        assert composition.params["langevin.steps"] == str(steps)
    for name in MODELS:
        run = by_model[name]
        assert run.info.status == "FINISHED"
        judged = figures(made, f"evaluate/{name}.json")
        key = "log_likelihood" if name == "vaebm-toy" else "nfe"
        assert run.data.metrics[key] == pytest.approx(judged[key])
    client = MlflowClient(tracking_uri=f"sqlite:///{made.root}/mlflow.db")
    curve = client.get_metric_history(by_model["vae-toy"].info.run_id, "elbo")  # from Ray's worker
    assert sorted(point.step for point in curve) == list(range(2, 41, 2))
    artifacts = Path(by_model["vaebm-digits"].info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(made.root)
    for folder in ("model", "curves", "evaluation", "images"):
        assert list((artifacts / folder).iterdir())


def test_a_second_time_nothing_runs(made: Project) -> None:
    again = made.run("dvc", "repro")
    assert stages_run(again.stdout) == []
    assert UP_TO_DATE in again.stdout


def test_runtime_invalidates_nothing(made: Project) -> None:
    made.set("runtime.threads", 2)
    assert UP_TO_DATE in made.run("dvc", "status").stdout
    made.set("runtime.threads", 1)


def test_commands_of_dvc(made: Project) -> None:
    shown = json.loads(made.run("dvc", "metrics", "show", "--json").stdout)
    for name in MODELS:
        data = shown[""]["data"][f"metrics/evaluate/{name}.json"]["data"]
        assert data == figures(made, f"evaluate/{name}.json")
    graph = made.run("dvc", "dag", "--dot").stdout
    assert '"pretrain@vae-toy" -> "compose@vaebm-toy"' in graph
    assert '"evaluate@vaebm-digits" -> "compare@digits"' in graph
    made.set("compose.vaebm-toy.max_gap", 51.0)
    different = json.loads(made.run("dvc", "params", "diff", "--json").stdout)
    assert different == {
        "params.yaml": {"compose.vaebm-toy.max_gap": {"old": 50.0, "new": 51.0, "diff": 1.0}},
    }
    made.set("compose.vaebm-toy.max_gap", 50.0)


def test_a_setting_reruns_what_depends_on_it(made_copy: Project) -> None:
    before = rows(made_copy)["vaebm-toy"].info.run_id
    made_copy.set("compose.vaebm-toy.langevin.steps", 5)
    # Stale models are refused by hand-run stages before DVC is asked to make them again.
    refused = made_copy.stage("sample", "vaebm-toy", check=False)
    assert refused.returncode == 2
    assert "compose.vaebm-toy.langevin.steps was 3, is 5" in refused.stderr
    ran = stages_run(made_copy.run("dvc", "repro").stdout)
    expected = [f"{stage}@vaebm-toy" for stage in ("compose", "sample", "evaluate")]
    assert ran == [*expected, "compare@toy", "report@index"]
    lock = yaml.safe_load((made_copy.root / "dvc.lock").read_text())["stages"]["compose@vaebm-toy"]
    assert lock["params"]["params.yaml"]["compose.vaebm-toy"]["langevin"]["steps"] == 5
    client = MlflowClient(tracking_uri=f"sqlite:///{made_copy.root}/mlflow.db")
    runs = client.search_runs(["1"], f"tags.`{MODEL_TAG}` = 'vaebm-toy'")
    assert {run.data.params["langevin.steps"] for run in runs} == {"3", "5"}
    assert before in {run.info.run_id for run in runs}


@pytest.mark.slow
def test_what_a_worker_has_to_say_to_the_user(made: Project) -> None:
    content = made.settings()
    content["runtime"] |= {"num_workers": 1, "max_failures": 2}
    content["pretrain"]["vae-toy"]["plan"]["batch_size"] = 5000
    (made.root / "other.yaml").write_text(yaml.safe_dump(content))
    done = made.stage("pretrain", "vae-toy", "--params", "other.yaml", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()  # no traceback of Ray's, no noise of its controller
    assert line.startswith("error: data set 25-gaussians gives a worker 1800 items")
    assert isinstance(load_model(made.root / "models/vae-toy"), VAE)  # the old one is still there
