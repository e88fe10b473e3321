"""How a training tells of itself: workers post events, the stage's process reads and shows them.

Workers never wait for the terminal or for MLflow: they drop events on a board (an actor of Ray, or
a plain object without Ray); a thread of the stage's process takes them off, draws the progress bar
and logs to MLflow.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

Event = dict[str, Any]
POLL_SECONDS = 0.5
QUIET_SECONDS = 10.0


class Board:
    """Events in the order in which they came."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def post(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def take(self) -> list[Event]:
        """All events since the last call."""
        with self._lock:
            events, self._events = self._events, []
        return events


class BoardReporter:
    """A `Reporter` that posts on a board."""

    def __init__(self, post: Callable[[Event], Any]) -> None:
        self._post = post

    def started(self) -> None:
        self._post({"kind": "started", "time": time.time()})

    def said(self, line: str) -> None:
        self._post({"kind": "said", "line": line})

    def progress(self, step: int, steps: int, note: str) -> None:
        self._post({"kind": "progress", "step": step, "steps": steps, "note": note})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._post({"kind": "metrics", "step": step, "values": dict(values), "time": time.time()})

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None:
        self._post({"kind": "picture", "step": step, "name": name, "image": image})


class SilentReporter:
    """What the workers other than the first use."""

    def started(self) -> None: ...

    def said(self, line: str) -> None: ...

    def progress(self, step: int, steps: int, note: str) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None: ...


class ProgressDisplay:
    """A bar with rate and time left on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, title: str, unit: str = "steps") -> None:
        self.title, self.unit = title, unit
        self._bar: tqdm[Any] | None = None
        self._interactive = sys.stderr.isatty()
        self._started: tuple[float, int] | None = None
        self._said = 0.0

    def show(self, done: int, total: int, note: str = "") -> None:
        if self._interactive:
            self._draw(done, total, note)
        else:
            self._say(done, total, note)

    def say(self, line: str) -> None:
        """Write a line that stays, whatever the bar does."""
        tqdm.write(f"{self.title}: {line}", file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _draw(self, done: int, total: int, note: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total, initial=done, desc=self.title, unit=f" {self.unit}", smoothing=0.1
            )
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def _say(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = (now, done)
        if now - self._said < QUIET_SECONDS and done < total:
            return
        self._said = now
        start, first = self._started
        rate = (done - first) / (now - start) if now > start else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        pace = f", {rate:.3g} {self.unit}/s" if rate > 0 else ""
        tail = f" ({note})" if note else ""
        line = f"{self.title}: {self.unit} {done}/{total}{pace}{left}{tail}"
        print(line, file=sys.stderr, flush=True)


class Log(Protocol):
    """Where curves and pictures are kept."""

    def metrics(self, step: int, values: Mapping[str, float], milliseconds: int) -> None: ...

    def picture(self, step: int, name: str, image: np.ndarray[Any, Any]) -> None: ...


class Follower:
    """Takes events off a board in a thread, shows progress, hands curves to a log."""

    def __init__(self, title: str, take: Callable[[], list[Event]], log: Log) -> None:
        self._take, self._log = take, log
        self._display = ProgressDisplay(title)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._began = time.time()
        self.start_seconds = 0.0
        """From here to the first worker's first line of work, seconds."""

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._display.close()

    def _follow(self) -> None:
        over = False
        while not over:
            over = self._over.wait(POLL_SECONDS)
            for event in self._take():
                self._handle(event)

    def _handle(self, event: Event) -> None:
        match event["kind"]:
            case "started":
                self.start_seconds = event["time"] - self._began
            case "said" | "lost":
                self._display.say(event["line"])
            case "progress":
                self._display.show(event["step"], event["steps"], event["note"])
            case "metrics":
                self._log.metrics(event["step"], event["values"], int(event["time"] * 1000))
            case "picture":
                self._log.picture(event["step"], event["name"], event["image"])
