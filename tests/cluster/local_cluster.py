"""A Ray cluster of one node on this machine, as docs/cluster.md starts it, and jobs sent to it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.processes import PATIENCE_SECONDS, command, until

SUBMITTED = re.compile(r"Job '(raysubmit_\w+)' submitted successfully")
JOB_SECONDS = 400.0  # a job trains a small model, on a machine that may be busy
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")


def free_ports(count: int) -> list[int]:
    """Ports that nobody on this machine listens on."""
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]


@dataclass
class LocalCluster:
    """`ray start --head` with a token and ports of its own.

    Attributes:
        folder: with a short path (Ray puts sockets there), for Ray's files and the token's.
        token: what lets in.
        environment: further variables that the nodes, and so the jobs, see.
    """

    folder: Path
    token: str
    environment: dict[str, str]
    ports: dict[str, int] = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        file = self.folder / "token"
        file.touch(mode=0o600)
        file.write_text(self.token)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        with (self.folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *("ray", "start", "--head", "--block", "--num-cpus", "2"),
                    *("--dashboard-host", "127.0.0.1", "--disable-usage-stats"),
                    *("--temp-dir", str(self.folder / "ray")),
                    *(f"--{name}={number}" for name, number in self.ports.items()),
                ],
                cwd=self.folder,
                env=self._own_environment() | self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        until(self._takes_jobs, "a Ray cluster that takes jobs")

    def end(self) -> None:
        everything = [psutil.Process(self.process.pid), *self.descendants()]
        self.process.terminate()
        _, alive = psutil.wait_procs(everything, timeout=5)
        for each in alive:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                each.kill()
        self.process.wait(PATIENCE_SECONDS)

    def descendants(self) -> list[psutil.Process]:
        """Ray's own processes, its workers and all that jobs have started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def at_work(self) -> list[psutil.Process]:
        """What a job of ours consists of: `dvc`, its stage and the workers of its training."""
        ours = ("ray::RayTrainWorker", "ray::TrainController", "pipelines.stages", "dvc repro")
        return [each for each in self.descendants() if any(w in command(each) for w in ours)]

    def job(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call `ray job` with these arguments, as a user does who has been handed the token."""
        return subprocess.run(
            ["ray", "job", *arguments],
            cwd=self.folder,
            env=self._own_environment() | environment,
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS,
            check=False,
        )

    def submit(self, line: str, *options: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        """Submit a line of shell; gives the job's name and what `ray job submit` left."""
        done = self.job("submit", *options, "--", "bash", "-c", line)
        found = SUBMITTED.search(done.stdout + done.stderr)
        assert found is not None, done.stdout + done.stderr
        return found[1], done

    def logs(self, job: str) -> str:
        done = self.job("logs", job)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def _own_environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        return kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.ports['dashboard-port']}",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }

    def _takes_jobs(self) -> bool:
        assert self.process.poll() is None, (self.folder / "output.txt").read_text()
        pages = {"dashboard-port": "api/jobs/"}
        pages |= {"dashboard-agent-listen-port": "api/local_raylet_healthz"}
        return all(self._answers(self.ports[name], page) for name, page in pages.items())

    def _answers(self, port: int, page: str) -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/{page}", headers={"Authorization": f"Bearer {self.token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
