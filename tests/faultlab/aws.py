"""Calls of Invoke as Amazon's own tools sign them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.faultlab.running import RunningLab


@dataclass(frozen=True)
class Caller:
    """Somebody with keys."""

    lab: RunningLab
    access_key: str
    secret_key: str
    region: str

    @classmethod
    def of(cls, lab: RunningLab, **over: str) -> Caller:
        environ = lab.environment
        given = {
            "access_key": environ["AWS_ACCESS_KEY_ID"],
            "secret_key": environ["AWS_SECRET_ACCESS_KEY"],
            "region": environ["TASKQUEUE_LAMBDA_REGION"],
        }
        return cls(lab, **(given | over))

    def headers(self, path: str, body: bytes, **more: str) -> dict[str, str]:
        """The signed headers of one call."""
        named = {name.replace("_", "-"): text for name, text in more.items()}
        asked = AWSRequest(method="POST", url=f"{self.lab.url}{path}", data=body, headers=named)
        SigV4Auth(Credentials(self.access_key, self.secret_key), "lambda", self.region).add_auth(asked)
        return {name.replace("-", "_"): str(text) for name, text in asked.headers.items()}

    def invoke(self, name: str, body: bytes = b"{}", **more: str) -> tuple[int, Any, bytes]:
        path = f"/2015-03-31/functions/{name}/invocations"
        return self.lab.call("POST", path, body, **self.headers(path, body, **more))
