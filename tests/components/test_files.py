"""Outputs are whole or absent, whatever goes wrong: on a full disk, made for real."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from components.errors import UserError
from components.files import remove, whole_file, whole_folder
from pipelines.runtime.outputs import write_json, write_text
from tests.pipelines.small_project import REPOSITORY

MEGABYTE = 1 << 20
# How the stages write: NumPy (samples, features), torch (checkpoints), safetensors (models), text.
WRITERS = {
    "numpy": "np.save(folder / 'x.npy', np.zeros(3_000_000, dtype=np.uint8))",
    "numpy-archive": "np.savez(folder / 'x.npz', x=np.zeros(3_000_000, dtype=np.uint8))",
    "torch": "torch.save({'x': torch.zeros(3_000_000, dtype=torch.uint8)}, folder / 'x.pt')",
    "safetensors": "save_file({'x': torch.zeros(3_000_000, dtype=torch.uint8)}, folder / 'x')",
    "text": "(folder / 'x.txt').write_text('x' * 3_000_000)",
    "write_text": "write_text(folder / 'x.txt', 'x' * 3_000_000)",
}
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import torch
from safetensors.torch import save_file
from components.errors import UserError
from components.files import whole_folder
from pipelines.runtime.outputs import write_text
try:
    with whole_folder(Path(sys.argv[1])) as folder:
        (folder / "small").write_text("small")
        {writer}
except UserError as error:
    sys.exit(f"said: {{error}}")
"""


@pytest.fixture
def limited() -> Iterator[None]:
    """This process may write no file of more than a megabyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with whole_folder(target) as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
        assert folder.parent == target.parent  # one rename away
    assert names(target) == ["a"] and names(target.parent) == ["target"]


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with whole_folder(tmp_path / "target") as folder:
            (folder / name).touch()
    assert names(tmp_path / "target") == ["new"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "target") as folder:
        (folder / "old").touch()
    with (
        pytest.raises(RuntimeError, match="by chance"),
        whole_folder(tmp_path / "target") as folder,
    ):
        (folder / "half").touch()
        raise RuntimeError("by chance")
    assert names(tmp_path) == ["target"] and names(tmp_path / "target") == ["old"]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from components.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "target")]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -9
    assert not (tmp_path / "target").exists() and len(names(tmp_path)) == 1
    with whole_folder(tmp_path / "target") as folder:
        (folder / "whole").touch()
    assert names(tmp_path) == ["target"] and names(tmp_path / "target") == ["whole"]


def test_files(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "÷\n")
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "÷\n"
    write_json(tmp_path / "a.json", {"a": 1.5})
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    with pytest.raises(KeyError), whole_file(tmp_path / "a.json") as part:
        part.write_text("{")
        raise KeyError
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1.5\n}\n'
    assert names(tmp_path) == ["a.json", "deep"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_grows_too_far(writer: str, tmp_path: Path, limited: None) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "old").touch()
    scope = {"np": np, "torch": torch, "save_file": save_file, "write_text": write_text}
    with (
        pytest.raises(UserError, match=r"cannot write .*target.*: a file grew past"),
        whole_folder(tmp_path / "target") as folder,
    ):
        exec(WRITERS[writer], {**scope, "folder": folder})
    assert names(tmp_path) == ["target"] and names(tmp_path / "target") == ["old"]


def test_errors_that_are_no_fault_of_the_disk_keep_their_traceback(tmp_path: Path) -> None:
    for error in (RuntimeError("shapes differ"), OSError("half a picture"), ValueError("no")):
        with pytest.raises(type(error)) as raised, whole_folder(tmp_path / "target") as folder:
            (folder / "some").write_text("some")
            raise error
        assert raised.value is error
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "target") as folder:
        (folder / "absent").read_text()
    assert names(tmp_path) == []


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(OSError), whole_folder(tmp_path / "models" / "target"):
        raise AssertionError("must not get here")


def test_remove(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
    remove(tmp_path / "folder")
    remove(tmp_path / "nothing")
    assert names(tmp_path) == []


def may_mount() -> bool:
    """Whether this user can have a file system of two megabytes of their own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=2m tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("writer", ["numpy", "torch", "safetensors", "text"])
def test_a_full_disk(writer: str, tmp_path: Path) -> None:
    if not may_mount():
        pytest.skip("mounting a small file system is not allowed here")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(writer=WRITERS[writer]))
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=2m tmpfs {disk} && PYTHONPATH={REPOSITORY} {sys.executable} "
        f"{program} {disk}/target; echo status $?; ls -A {disk}"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "status 1\n", "something was left behind"
    assert done.stderr == f"said: cannot write {disk}/target: the disk is full; {ADVICE}\n"


ADVICE = "free some space and run again"
