"""Projects over HTTP, for those who administer the project `default`."""

from __future__ import annotations

from taskqueue.core.task import DEFAULT_PROJECT
from taskqueue.store import api_keys, projects
from taskqueue.web.auth import Scope
from taskqueue.web.calls import Call, Reply
from taskqueue.web.key_models import CreateProject
from taskqueue.web.key_resources import NewProjectAnswer, Projects, new_project_answer, project_answer
from taskqueue.web.operations import Answer, operation
from taskqueue.web.problems import CONFLICT, NOT_ALLOWED, Problem
from taskqueue.web.queue_models import Paging
from taskqueue.web.reading import either
from taskqueue.web.service import Service

_TAG = "projects"
_FIRST_KEY = "first"


@operation(
    "GET",
    "/v1/projects",
    summary="List the projects",
    tag=_TAG,
    scope=Scope.ADMIN,
    query=Paging,
    answers={200: Answer("One page of projects, by name", Projects)},
)
def list_projects(service: Service, call: Call) -> Reply:
    """Only with a key of the project `default`: which others there are is nobody else's business."""
    _check(call)
    asked = call.query(Paging)
    with service.database.read() as conn:
        page = projects.search(conn, cursor=either(asked.cursor, None), limit=asked.limit)
    return Reply(200, {"items": [project_answer(project) for project in page.items], "nextCursor": page.next_cursor})


@operation(
    "POST",
    "/v1/projects",
    summary="Make a project",
    tag=_TAG,
    scope=Scope.ADMIN,
    body=CreateProject,
    body_required=True,
    answers={201: Answer("The project, and its first key, shown this once", NewProjectAnswer)},
    problems=(CONFLICT,),
    example={"name": "acme"},
)
def create_project(service: Service, call: Call) -> Reply:
    """Only with a key of the project `default`. The new project has a signing secret of its own, and one key with the
    scope `admin`, which makes the others."""
    _check(call)
    asked, database = call.body(CreateProject), service.database
    with database.begin() as conn:
        project = projects.create(conn, database, asked.name)
        made = api_keys.create(conn, database, project.name, name=_FIRST_KEY, scopes=frozenset({Scope.ADMIN}))
    return Reply(201, new_project_answer(project, made))


OPERATIONS = (list_projects, create_project)


def _check(call: Call) -> None:
    if call.caller.project != DEFAULT_PROJECT:
        raise Problem(NOT_ALLOWED, f"projects are seen and made with a key of the project {DEFAULT_PROJECT} alone")
