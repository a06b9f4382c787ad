"""Settings come from the environment, and a bad one stops the start with a sentence that names it."""

from __future__ import annotations

import pytest

from taskqueue.config import Settings, require_known_callers, strangers, table
from taskqueue.core.errors import InvalidSettings


def test_an_empty_environment_gives_the_defaults_of_the_documentation() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.port, settings.host, settings.lease_seconds) == (8484, "127.0.0.1", 15.0)


def test_every_field_is_read_from_the_variable_of_its_name() -> None:
    given = {
        "database_url": "postgresql://db/x",
        "host": "::1",
        "port": "9000",
        "auth": "on",
        "allowed_targets": "10.1.2.0/24,billing.internal:9000",
        "signing_secret": "whsec_" + "A" * 32,
        "lambda_region": "eu-west-1",
        "lambda_endpoint": "http://127.0.0.1:8585",
        "allow_unsafe_database": "true",
        "breaker": "off",
        "log_format": "json",
        "log_level": "debug",
        "lease_seconds": "30",
        "max_body_bytes": "2048",
        "max_batch_bytes": "4096",
    }
    given |= {row.field: str(row.default + 1) for row in table() if row.field not in given}
    settings = Settings.from_env({f"TASKQUEUE_{field.upper()}": text for field, text in given.items()})
    assert all(getattr(settings, row.field) != row.default for row in table())


def test_the_region_of_functions_is_that_of_amazons_own_tools_unless_it_is_given() -> None:
    ambient = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}
    assert Settings.from_env(ambient).lambda_region == "eu-west-1"
    assert Settings.from_env({"AWS_DEFAULT_REGION": "us-east-1"}).lambda_region == "us-east-1"
    assert Settings.from_env(ambient | {"TASKQUEUE_LAMBDA_REGION": "eu-north-1"}).lambda_region == "eu-north-1"
    assert Settings.from_env({"AWS_REGION": "No Region"}).lambda_service is None


def test_functions_are_invoked_at_amazons_address_unless_another_is_given() -> None:
    service = Settings(lambda_region="eu-west-1").lambda_service
    assert service is not None
    assert service.base.origin == "https://lambda.eu-west-1.amazonaws.com:443"
    other = Settings(lambda_region="eu-west-1", lambda_endpoint="http://127.0.0.1:8585").lambda_service
    assert other is not None
    assert other.base.origin == "http://127.0.0.1:8585"


def test_an_empty_or_blank_variable_counts_as_unset() -> None:
    assert Settings.from_env({"TASKQUEUE_PORT": "", "TASKQUEUE_SIGNING_SECRET": "  "}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("TASKQUEUE_PORT", "eight", "a whole number from 1 to 65535"),
        ("TASKQUEUE_PORT", "70000", "a whole number from 1 to 65535"),
        ("TASKQUEUE_PORT", "tcp://10.0.0.7:8484", "enableServiceLinks"),
        ("TASKQUEUE_LEASE_SECONDS", "nan", "a number from 2 to 3600"),
        ("TASKQUEUE_LEASE_SECONDS", "inf", "a number from 2 to 3600"),
        ("TASKQUEUE_LEASE_SECONDS", "9", "more than 9"),
        ("TASKQUEUE_TASK_RETENTION_DAYS", "0", "above 0"),
        ("TASKQUEUE_LOG_FORMAT", "xml", "console or json"),
        ("TASKQUEUE_ALLOW_UNSAFE_DATABASE", "yes", "true or false"),
        ("TASKQUEUE_MAX_BATCH_BYTES", "2048", "TASKQUEUE_MAX_BODY_BYTES"),
        ("TASKQUEUE_ALLOWED_TARGETS", "http://10.0.0.1", "without a scheme"),
        ("TASKQUEUE_LAMBDA_REGION", "Ireland!", "eu-west-1"),
        ("TASKQUEUE_LAMBDA_ENDPOINT", "http://127.0.0.1:8585", "needs TASKQUEUE_LAMBDA_REGION"),
        ("TASKQUEUE_ALLOWED_TARGETS", "0.0.0.0/0", "too wide"),
        ("TASKQUEUE_SIGNING_SECRET", "whsec_short", "24 to 64 bytes"),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_accepted(variable: str, text: str, sentence: str) -> None:
    with pytest.raises(InvalidSettings, match=sentence) as raised:
        Settings.from_env({variable: text})
    assert variable in str(raised.value)


def test_a_secret_never_stands_in_an_error_or_in_what_is_shown() -> None:
    with pytest.raises(InvalidSettings) as raised:
        Settings.from_env({"TASKQUEUE_SIGNING_SECRET": "hunter2"})
    assert "hunter2" not in str(raised.value)
    settings = Settings(signing_secret="whsec_hunter2")
    assert settings.shown("signing_secret") == "set"
    assert Settings().shown("signing_secret") is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:hun@ter2@host/db", "postgresql://user:***@host/db"),
        ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
        (
            "postgresql://host/db?user=x&password=hunter2&sslmode=require",
            "postgresql://host/db?user=x&password=***&sslmode=require",
        ),
        ("sqlite:////var/lib/a@b.db", "sqlite:////var/lib/a@b.db"),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_a_database_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert Settings(database_url=url).shown("database_url") == shown


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_may_be_bound_without_keys(host: str) -> None:
    require_known_callers(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", "localhost.example.com", ""])
def test_anything_else_may_not(host: str) -> None:
    with pytest.raises(InvalidSettings, match="TASKQUEUE_AUTH is off: set it to on and make an API key"):
        require_known_callers(Settings(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "example.com"])
def test_any_address_may_be_bound_where_keys_are_asked_for(host: str) -> None:
    require_known_callers(Settings(host=host, auth="on"))


@pytest.mark.parametrize("text", ["yes", "true", "ON", "1"])
def test_keys_are_switched_on_by_one_word_alone(text: str) -> None:
    with pytest.raises(InvalidSettings, match="off or on"):
        Settings.from_env({"TASKQUEUE_AUTH": text})


def test_a_misspelt_variable_is_found_and_the_right_one_offered() -> None:
    environ = {
        "TASKQUEUE_LEASE_SECOND": "3",
        "TASKQUEUE_BANANA": "x",
        "TASKQUEUE_URL": "x",
        "TASKQUEUE_PORT": "1",
    }
    assert strangers(environ) == {"TASKQUEUE_LEASE_SECOND": "TASKQUEUE_LEASE_SECONDS", "TASKQUEUE_BANANA": None}
