"""Whether a request carries Amazon's signature, version 4, as Amazon would check it: computed again by botocore."""

from __future__ import annotations

import hmac
import re
import time
from calendar import timegm
from dataclasses import dataclass

from taskqueue.faultlab.lambda_said import LambdaAnswer, refused
from taskqueue.faultlab.wire import Request

SERVICE = "lambda"
_SKEW_SECONDS = 300
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/, ]+)/(?P<date>\d{8})/(?P<region>[^/, ]+)/(?P<service>[^/, ]+)"
    r"/aws4_request, ?SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Who may invoke the functions of the lab. These open nothing anywhere else."""

    region: str = "eu-west-1"
    access_key: str = "AKIAFAULTLAB"
    secret_key: str = "a-secret-of-the-fault-lab"  # noqa: S105 - printed at the start, for everybody to use
    token: None = None

    def refusal(self, request: Request) -> LambdaAnswer | None:
        """What Amazon would say to ``request`` instead of serving it; ``None`` when the signature holds."""
        given = request.header("authorization")
        if given is None:
            return refused("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
        match = _AUTHORIZATION.fullmatch(given)
        stamp = request.header("x-amz-date") or ""
        if match is None or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
            return refused(
                "IncompleteSignatureException", "Authorization and X-Amz-Date are not as they should be", status=403
            )
        if match["key"] != self.access_key:
            return refused(
                "UnrecognizedClientException", "The security token included in the request is invalid.", status=403
            )
        complaint = self._complaint(request, match, stamp)
        return refused("InvalidSignatureException", complaint, status=403) if complaint else None

    def _complaint(self, request: Request, match: re.Match[str], stamp: str) -> str | None:
        scope = (match["date"], match["region"], match["service"])
        if scope != (stamp[:8], self.region, SERVICE):
            return f"Credential should be scoped to {stamp[:8]}/{self.region}/{SERVICE}"
        if abs(time.time() - timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))) > _SKEW_SECONDS:
            return f"Signature expired: {stamp} is too far from now"
        covered = match["headers"].split(";")
        must = {"host", *(name for name, _ in request.headers if name.startswith("x-amz-"))}
        if missing := must.difference(covered):
            return f"{', '.join(sorted(missing))} must be signed"
        if not hmac.compare_digest(self._signature(request, covered, stamp), match["signature"]):
            return "The request signature we calculated does not match the signature you provided."
        return None

    def _signature(self, request: Request, covered: list[str], stamp: str) -> str:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        url = f"http://{request.header('host')}{request.target}"
        headers = {name: request.header(name) or "" for name in covered}
        asked = AWSRequest(method=request.method, url=url, data=request.body, headers=headers)
        asked.context["timestamp"] = stamp
        signer = SigV4Auth(self, SERVICE, self.region)
        signature: str = signer.signature(signer.string_to_sign(asked, signer.canonical_request(asked)), asked)
        return signature
