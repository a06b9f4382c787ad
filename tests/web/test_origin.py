"""Pages of other sites cannot steer the API through a browser on its machine; everybody else notices nothing."""

from __future__ import annotations

import pytest

from tests.web.contract import Api

UNKNOWN = "/v1/tasks/01a1fd2b-7e4c-73b7-9951-e4461c9bc5ed"
FOREIGN = "urn:taskqueue:problem:foreign-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:8484", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    task_id = api.submit()["id"]
    for method, path in (
        ("POST", f"/v1/tasks/{task_id}/cancel"),
        ("POST", f"/v1/tasks/{task_id}/run-now"),
        ("POST", "/v1/dead-letters/redrive"),
        ("DELETE", "/v1/dead-letters/" + task_id),
    ):
        answer = api.call(method, path, headers={"Host": "localhost:8484", **headers})
        assert (answer.status, answer.json["type"]) == (403, FOREIGN)
    assert api.get(f"/v1/tasks/{task_id}").json["status"] == "queued"


@pytest.mark.parametrize("host", ["localhost:8484", "127.0.0.1:8484", "[::1]:8484"])
@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_page_of_our_own_may_call(api: Api, host: str, site: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": site}
    path = f"/v1/tasks/{api.submit()['id']}/cancel"
    assert api.call("POST", path, headers=headers).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("elsewhere.example", "elsewhere.example:8484", "127.0.0.1.elsewhere.example", "localhost.elsewhere.example"),
        *("0.0.0.0:8484", "192.0.2.1", "[2001:db8::1]:8484", "[::1].elsewhere.example", "", ":8484", "[", "\xff"),
    ],
)
def test_a_name_that_others_may_own_is_refused(front: Api, host: str) -> None:
    for method, path in (("GET", UNKNOWN), ("POST", "/v1/tasks")):
        answer = front.call(method, path, headers={"Host": host})
        assert (answer.status, answer.json["type"]) == (403, FOREIGN)
        assert "localhost" in answer.json["detail"]


@pytest.mark.parametrize("host", ["localhost", "LocalHost:80", "127.0.0.1", "127.8.7.6:1", "[::1]", "[::1]:8484"])
def test_every_name_of_this_machine_is_served(api: Api, host: str) -> None:
    assert api.call("GET", UNKNOWN, headers={"Host": host}).status == 404


def test_probes_may_call_by_any_name(front: Api) -> None:
    assert front.call("GET", "/healthz", headers={"Host": "elsewhere.example"}).status == 200
