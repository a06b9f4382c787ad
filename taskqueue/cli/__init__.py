"""The command line. One file per noun; each is loaded only when its command is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from taskqueue import __version__
from taskqueue.cli.failure import Failure

COMMANDS = {
    "dev": "taskqueue.cli.dev:dev",
    "api": "taskqueue.cli.processes:api",
    "worker": "taskqueue.cli.processes:worker",
    "migrate": "taskqueue.cli.processes:migrate",
    "submit": "taskqueue.cli.submit:submit",
    "tasks": "taskqueue.cli.tasks:tasks",
    "dead": "taskqueue.cli.dead_letters:dead",
    "queues": "taskqueue.cli.queues:queues",
    "flow-keys": "taskqueue.cli.flow_keys:flow_keys",
    "breakers": "taskqueue.cli.breakers:breakers",
    "simulate": "taskqueue.cli.simulate:simulate",
    "outcomes": "taskqueue.cli.outcomes:outcomes",
    "doctor": "taskqueue.cli.doctor:doctor",
    "settings": "taskqueue.cli.settings:settings",
    "projects": "taskqueue.cli.projects:projects",
    "keys": "taskqueue.cli.keys:keys",
    "signing-secret": "taskqueue.cli.signing_secret:signing_secret",
    "lambda-layer": "taskqueue.cli.layer:lambda_layer",
    "faultlab": "taskqueue.cli.faultlab:faultlab",
}


class _Commands(click.Group):
    """Commands by name. Whatever goes wrong inside one ends as a sentence, not as a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            raise Failure.of(error) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="taskqueue")
def main() -> None:
    """A durable HTTP task queue. Start with: taskqueue dev"""
