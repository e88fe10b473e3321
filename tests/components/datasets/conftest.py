"""A web server on this machine that misbehaves on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Answer:
    """What to answer: the body, and how to fail (a list of failures is used up, one a request)."""

    body: bytes = b""
    status: int = 200
    location: str = ""
    # "drop": promise all, send half, close; "stall": send half, then nothing;
    # "reset": close without a word; "chunked": send half of a chunked body; "": behave.
    failures: list[str] = field(default_factory=list)


class Server:
    """Answers by path; keeps the paths that were asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                server.asked.append(self.path)
                answer = server.answers.get(self.path, Answer(status=404))
                failure = answer.failures.pop(0) if answer.failures else ""
                if failure == "reset":
                    return
                self.send_response(answer.status)
                if answer.location:
                    self.send_header("Location", answer.location)
                if failure == "chunked":
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    half = answer.body[: len(answer.body) // 2]
                    self.wfile.write(f"{len(answer.body):x}\r\n".encode() + half)
                    return
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                size = len(answer.body) // 2 if failure else len(answer.body)
                self.wfile.write(answer.body[:size])
                if failure == "stall":
                    self.wfile.flush()
                    server.released.wait(20)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that stops with the test."""
    running = Server()
    yield running
    running.released.set()
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def answer() -> type[Answer]:
    """The class of answers."""
    return Answer
