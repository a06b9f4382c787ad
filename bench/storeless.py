"""The API without a store: the same server, and a Flask view that reads a task and answers it as if it were stored.

Run as ``python -m bench.storeless PORT``; it ends when its standard input closes.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import msgspec
from flask import Flask, Response, request

from bench.children import HOST
from taskqueue.cli.lifeline import end_with_parent
from taskqueue.config import Settings
from taskqueue.core.target import AllowedTargets
from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store.submissions import mint
from taskqueue.web import scan, server
from taskqueue.web.models import SubmitTask
from taskqueue.web.new_tasks import Context, new_task
from taskqueue.web.problems import Faults
from taskqueue.web.reading import read
from taskqueue.web.resources import whole_task

_encode = msgspec.json.Encoder().encode


def create_app() -> Flask:
    app = Flask("storeless")
    context = Context(DEFAULT_PROJECT, AllowedTargets.parse(HOST))

    @app.post("/v1/tasks")
    def submit_task() -> Response:
        text, faults = request.get_data(), Faults()
        scan.check(text)
        asked = read(text, SubmitTask, faults)
        assert asked is not None, "the bench sends a sound task"
        task = new_task(asked, faults, context)
        assert task is not None, "the bench sends a sound task"
        now = datetime.now(UTC)
        answer = whole_task(mint(task, now=now), now=now)
        return Response(_encode(answer), 202, content_type="application/json")

    return app


def main(port: int) -> None:
    """As the API serves, with its defaults."""
    server.build(Settings(port=port), address=HOST).serve(target_loader=lambda: create_app(), wrap_loader=False)


if __name__ == "__main__":
    end_with_parent()
    main(int(sys.argv[1]))
