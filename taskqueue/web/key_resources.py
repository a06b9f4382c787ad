"""Projects and API keys as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from taskqueue.core.api_key import ApiKey, NewApiKey, Scope
from taskqueue.core.project import Project
from taskqueue.core.shown import rfc3339


class ApiKeyAnswer(TypedDict):
    """An API key, but for the key itself."""

    id: str
    project: str
    name: str
    scopes: list[str]
    prefix: str  # how the key begins
    status: str  # active, expired or revoked
    createdAt: str
    expiresAt: str | None  # null: never
    lastUsedAt: str | None  # a minute or so off; null: not yet
    revokedAt: str | None
    replacedBy: str | None  # the id of the key that a rotation made in its place
    links: dict[str, str]


class NewApiKeyAnswer(ApiKeyAnswer):
    """An API key that was just made; it cannot be shown again."""

    key: str


class ApiKeys(TypedDict):
    """Some of the project's API keys, newest first."""

    items: list[ApiKeyAnswer]
    nextCursor: str | None


class ProjectAnswer(TypedDict):
    """A project."""

    name: str
    createdAt: str


class NewProjectAnswer(ProjectAnswer):
    """A project that was just made, and the key that opens it."""

    apiKey: NewApiKeyAnswer


class Projects(TypedDict):
    """Some of the projects, by name."""

    items: list[ProjectAnswer]
    nextCursor: str | None


def api_key_answer(key: ApiKey, *, now: datetime) -> ApiKeyAnswer:
    return {
        "id": str(key.id),
        "project": key.project,
        "name": key.name,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "prefix": key.shown,
        "status": key.standing(now).value,
        "createdAt": rfc3339(key.created_at),
        "expiresAt": rfc3339(key.expires_at) if key.expires_at else None,
        "lastUsedAt": rfc3339(key.last_used_at) if key.last_used_at else None,
        "revokedAt": rfc3339(key.revoked_at) if key.revoked_at else None,
        "replacedBy": str(key.replaced_by) if key.replaced_by else None,
        "links": {"self": f"/v1/api-keys/{key.id}"},
    }


def new_api_key_answer(made: NewApiKey) -> NewApiKeyAnswer:
    return {**api_key_answer(made.key, now=made.key.created_at), "key": made.text}


def project_answer(project: Project) -> ProjectAnswer:
    return {"name": project.name, "createdAt": rfc3339(project.created_at)}


def new_project_answer(project: Project, made: NewApiKey) -> NewProjectAnswer:
    return {**project_answer(project), "apiKey": new_api_key_answer(made)}
