"""A small project of its own: code, catalogue, DAG and settings copied, the settings shrunk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pipelines.runtime.identity import REPOSITORY

Content = dict[str, Any]
POINTS, IMAGES, NEAR, FAR = "25-gaussians", "digits", "stripes", "speckles"
TOY_DATA = (POINTS, "swiss-roll", "checkerboard")
MODELS = ("vae-toy", "vaebm-toy", "vae-digits", "vaebm-digits")


@dataclass(frozen=True)
class Project:
    """A folder in which the stages and DVC can be run."""

    root: Path

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there, as a user would, with this environment's programs."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **own, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def stage(
        self, stage: str, name: str, *more: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one stage by hand."""
        module = f"pipelines.stages.{stage}"
        return self.run("python", "-m", module, name, *more, check=check, **environment)

    def settings(self) -> Content:
        """What params.yaml says now."""
        content: Content = yaml.safe_load((self.root / "params.yaml").read_text())
        return content

    def set(self, path: str, value: Any) -> None:
        """Change one key of params.yaml."""
        content = self.settings()
        *sections, last = path.split(".")
        section = content
        for key in sections:
            section = section[key]
        assert last in section, path
        section[last] = value
        (self.root / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def copy_project(root: Path) -> Project:
    """Make a project in an empty folder: no DVC, no git yet."""
    unwanted = shutil.ignore_patterns("__pycache__", "dvc.yaml", "params.yaml", "dvc.lock")
    for folder in ("components", "pipelines"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=unwanted)
    shutil.copytree(REPOSITORY / "mlflow_projects", root / "mlflow_projects")
    for file in ("dvc.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / file, root)
    (root / "data").mkdir()
    catalogue = yaml.safe_load((REPOSITORY / "data/catalog.yaml").read_text())
    for name in TOY_DATA:
        catalogue[name]["source"] |= {"train": 2000, "test": 500}
    for name in (NEAR, FAR):
        catalogue[name] = _folder_of_images(root / "pictures" / name)
    (root / "data/catalog.yaml").write_text(yaml.safe_dump(catalogue, sort_keys=False))
    (root / "params.yaml").write_text(yaml.safe_dump(small_settings(), sort_keys=False))
    return Project(root)


def small_settings() -> Content:
    """The repository's settings, cut to seconds: points, and 8×8 digits instead of clothes."""
    full: Content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    small: Content = {section: {} for section in full}
    small["runtime"] = full["runtime"] | {
        "num_workers": 0,
        "threads": 1,
        "ray_address": "local",
    }
    data = (*TOY_DATA, IMAGES, NEAR, FAR)
    small["fetch"] = {name: {} for name in data}
    small["shard"] = {name: {"shard_megabytes": 16} for name in data}
    small["features"] = {
        POINTS: full["features"][POINTS],
        IMAGES: _changed(full["features"]["fashion-mnist"], count=250),
    }
    small["features"][IMAGES]["classifier"]["plan"] |= _plan(30)
    small["pretrain"] = {
        "vae-toy": full["pretrain"]["vae-toy"],
        "vae-digits": _changed(full["pretrain"]["vae-fashion"], data=IMAGES, latent=4),
    }
    small["pretrain"]["vae-toy"]["plan"] |= _plan(40)
    small["pretrain"]["vae-digits"]["plan"] |= _plan(20)
    small["pretrain"]["vae-digits"]["network"] |= {"width": 8, "depth": 1}
    small["compose"] = {
        "vaebm-toy": full["compose"]["vaebm-toy"],
        "vaebm-digits": _changed(
            full["compose"]["vaebm-fashion"], base="vae-digits", data=IMAGES, max_gap=1e6
        ),
    }
    small["compose"]["vaebm-digits"]["energy"] = {
        "kind": "conv",
        "width": 4,
        "multipliers": [1, 2],
        "normalisation": "weight",
    }
    small["compose"]["vaebm-digits"]["select"]["count"] = 100
    for settings in small["compose"].values():
        settings["plan"] |= _plan(12)
        settings["langevin"]["steps"] = 3
        settings["warm_start"]["steps"] = 4
    old = {"vae-toy": "vae-toy", "vaebm-toy": "vaebm-toy"}
    old |= {"vae-digits": "vae-fashion", "vaebm-digits": "vaebm-fashion"}
    for name in MODELS:
        small["sample"][name] = _changed(
            full["sample"][old[name]], count=250, draws=2, batch_size=125
        )
        if name.startswith("vaebm"):
            small["sample"][name]["langevin"]["steps"] = 4
            small["sample"][name]["chain_states"] = 3
        judging = _changed(full["evaluate"][old[name]])
        if judging["kind"] == "points":
            judging |= {"test_count": 200, "iwae_samples": 20, "grid": 40, "grid_samples": 4096}
        else:
            judging |= {"data": IMAGES, "outsiders": {"near": NEAR, "far": FAR}}
            judging |= {"ood_count": 60, "bound_samples": 2}
        small["evaluate"][name] = judging
    shown = full["compare"]["fashion"]
    here = {"base": "vae-digits", "composition": "vaebm-digits", "data": IMAGES, "paper": {}}
    small["compare"] = {"toy": full["compare"]["toy"], "digits": _changed(shown, **here)}
    small["report"] = full["report"]
    plain: Content = yaml.safe_load(yaml.dump(small, Dumper=_Plain))
    return plain


class _Plain(yaml.SafeDumper):
    """Writes shared parts out instead of referring to them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _changed(settings: Content, **changes: Any) -> Content:
    copied: Content = yaml.safe_load(yaml.dump(settings, Dumper=_Plain))
    assert changes.keys() <= copied.keys()
    return copied | changes


def _plan(steps: int) -> Content:
    half = steps // 2
    return {
        "steps": steps,
        "batch_size": 64,
        "log_every": 2,
        "checkpoint_every": half,
        "validate_every": half,
        "validation_count": 200,
        "stop_gain": None,
    }


def _folder_of_images(folder: Path) -> Content:
    """Write colour pictures larger than the digits; give their entry of the catalogue."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(len(folder.name))
    for number in range(120):
        if folder.name == NEAR:
            row = np.arange(16) * random.uniform(0.2, 2.0) + random.uniform(0.0, 6.0)
            pixels = np.broadcast_to(127.5 + 127.5 * np.sin(row)[:, None, None], (16, 16, 3))
        else:
            pixels = random.integers(0, 256, (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
    return {
        "kind": "image-folder",
        "licence": "none (generated)",
        "path": f"pictures/{folder.name}",
        "size": 8,
        "channels": 3,
        "on_unreadable": "error",
        "test_fraction": 0.6,
    }
