"""Which URLs are understood, and which hosts, addresses and ports may be called."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskqueue.core.errors import ForbiddenTarget, InvalidTarget
from taskqueue.core.target import (
    MAX_URL_BYTES,
    AllowedTargets,
    check_spelling,
    forbidden,
    is_public,
    parse_target,
)

NOTHING = AllowedTargets()


def test_the_parts_of_a_target() -> None:
    target = parse_target("HTTPS://API.Example.com/v1/Work;a=1?q=%20&r[]=2")
    assert target.url == "https://api.example.com/v1/Work;a=1?q=%20&r[]=2"
    assert target.scheme == "https"
    assert target.host == "api.example.com"
    assert target.port == 443
    assert target.path == "/v1/Work;a=1?q=%20&r[]=2"
    assert target.origin == "https://api.example.com:443"
    assert target.host_header == "api.example.com"
    assert target.literal is None


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "origin", "host_header"),
    [
        ("http://a.example", "a.example", 80, "/", "http://a.example:80", "a.example"),
        ("http://a.example?q=1", "a.example", 80, "/?q=1", "http://a.example:80", "a.example"),
        ("http://a.example:80/", "a.example", 80, "/", "http://a.example:80", "a.example"),
        ("http://a.example:443/", "a.example", 443, "/", "http://a.example:443", "a.example:443"),
        ("https://a.example:65535/", "a.example", 65535, "/", "https://a.example:65535", "a.example:65535"),
        ("http://under_score.internal/", "under_score.internal", 80, "/", "http://under_score.internal:80", None),
        ("http://localhost/", "localhost", 80, "/", "http://localhost:80", None),
        ("http://1a.example/", "1a.example", 80, "/", "http://1a.example:80", None),
        ("http://192.0.2.1:8080/", "192.0.2.1", 8080, "/", "http://192.0.2.1:8080", "192.0.2.1:8080"),
        ("http://[2001:DB8:0:0::1]/", "2001:db8::1", 80, "/", "http://[2001:db8::1]:80", "[2001:db8::1]"),
        ("https://[::1]:8443/x", "::1", 8443, "/x", "https://[::1]:8443", "[::1]:8443"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "/", "http://xn--bcher-kva.example:80", None),
        ("http://Straße.example/", "xn--strae-oqa.example", 80, "/", "http://xn--strae-oqa.example:80", None),
    ],
)
def test_what_is_understood(url: str, host: str, port: int, path: str, origin: str, host_header: str | None) -> None:
    target = parse_target(url)
    assert (target.host, target.port, target.path, target.origin) == (host, port, path, origin)
    assert target.host_header == (host_header or host)


def test_only_the_spelling_of_scheme_and_host_is_touched() -> None:
    assert parse_target("HTTP://A.example:80").url == "http://a.example:80"
    assert parse_target("http://a.example/B/../c?D").url == "http://a.example/B/../c?D"
    assert parse_target("http://[0:0::1]/").url == "http://[::1]/"


@pytest.mark.parametrize(
    "url", ["lambda:orders", "LAMBDA:/orders", "arn:aws:lambda:eu-west-1:123456789012:function:orders"]
)
def test_a_function_without_its_scheme_is_answered_with_how_it_is_written(url: str) -> None:
    with pytest.raises(InvalidTarget, match="a function is written lambda://name"):
        parse_target(url, functions=True)
    with pytest.raises(InvalidTarget, match="not an absolute URL"):
        parse_target(url)


REFUSED = {
    "nothing": "",
    "no scheme": "example.com/path",
    "a relative path": "/path",
    "no slashes": "http:example.com",
    "another scheme": "ftp://example.com/",
    "a function": "lambda://name",
    "a file": "file:///etc/passwd",
    "a script": "javascript://x/%0aalert(1)",
    "a space before": " http://example.com/",
    "a line break after": "http://example.com/\n",
    "a user": "http://user@example.com/",
    "a user and password": "http://user:secret@example.com/",
    "an empty user": "http://@example.com/",
    "a user that looks like a host": "http://example.com@evil.example/",
    "a fragment": "http://example.com/#top",
    "an empty fragment": "http://example.com/#",
    "a backslash for a slash": "http:\\\\example.com\\",
    "a backslash in the host": "http://example.com\\@evil.example/",
    "a backslash in the path": "http://example.com/a\\b",
    "a space in the path": "http://example.com/a b",
    "a tab in the host": "http://exam\tple.com/",
    "a NUL in the host": "http://example.com\0.evil/",
    "a NUL in the path": "http://example.com/\0",
    "a line break in the path": "http://example.com/\r\nX: 1",
    "a delete character": "http://example.com/\x7f",
    "a letter of another alphabet in the path": "http://example.com/é",
    "a letter of another alphabet in the query": "http://example.com/?q=é",
    "half a letter": "http://example.com/\ud800",
    "half a letter in the host": "http://\ud800.example/",
    "quotes": 'http://example.com/"',
    "angle brackets": "http://example.com/<x>",
    "a lonely percent sign": "http://example.com/100%",
    "a percent sign and rubbish": "http://example.com/%zz",
    "no host": "http:///path",
    "no host but a port": "http://:80/",
    "port nought": "http://example.com:0/",
    "a port too high": "http://example.com:65536/",
    "a port with a nought before": "http://example.com:080/",
    "a port with a sign": "http://example.com:+80/",
    "a port with a space": "http://example.com: 80/",
    "a port of other digits": "http://example.com:８０/",
    "an empty port": "http://example.com:/",
    "two ports": "http://example.com:80:80/",
    "a short address": "http://127.1/",
    "an address as one number": "http://2130706433/",
    "an address in hexadecimal": "http://0x7f000001/",
    "an address partly in hexadecimal": "http://0x7f.1/",
    "an address in octal": "http://0177.0.0.1/",
    "an address with noughts before": "http://127.000.000.001/",
    "an address with five parts": "http://127.0.0.0.1/",
    "an address out of range": "http://256.0.0.1/",
    "an address with a dot behind": "http://127.0.0.1./",
    "an address of wide digits": "http://１２７.0.0.1/",
    "an address with ideographic dots": "http://127。0。0。1/",
    "an address in circled digits": "http://①②⑦.⓪.⓪.①/",
    "a name that ends in a number": "http://example.1/",
    "a name that ends in a hexadecimal number": "http://example.0x1/",
    "an encoded host": "http://%31%32%37.0.0.1/",
    "an encoded dot": "http://example%2ecom/",
    "a name with a dot behind": "http://example.com./",
    "a name with a dot before": "http://.example.com/",
    "a name with two dots": "http://example..com/",
    "a name with a hyphen before": "http://-example.com/",
    "a name with a hyphen behind": "http://example-.com/",
    "a label too long": f"http://{'a' * 64}.example/",
    "a name too long": f"http://{'a.' * 130}example/",
    "a foreign name too long": f"http://{'é.' * 130}example/",
    "a foreign name that vanishes": "http://\u00ad/",
    "a foreign name that is none": "http://☃.example/",
    "a wildcard": "http://*.example.com/",
    "several hosts": "http://a.example,b.example/",
    "IPv6 without brackets": "http://::1/",
    "IPv6 without an end": "http://[::1/",
    "IPv6 with something behind": "http://[::1]x/",
    "IPv6 with a zone": "http://[fe80::1%eth0]/",
    "IPv6 with an encoded zone": "http://[fe80::1%25eth0]/",
    "IPv6 that is none": "http://[::g]/",
    "IPv4 in brackets": "http://[127.0.0.1]/",
    "a future address": "http://[v1.a]/",
    "empty brackets": "http://[]/",
    "too long": "http://example.com/" + "a" * MAX_URL_BYTES,
    "too long in the wire's spelling": "http://" + "é." * 20 + "example/" + "a" * (MAX_URL_BYTES - 60),
}


@pytest.mark.parametrize("url", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(url: str) -> None:
    with pytest.raises(InvalidTarget) as refused:
        parse_target(url, pointer="/webhookUrl")
    assert refused.value.pointer == "/webhookUrl"
    assert refused.value.detail
    assert "secret" not in refused.value.detail


CRUMBS = st.sampled_from(
    [*"abAZ019.:/?#@[]%\\-_ \t\0é。１ß", "http://", "https://", "[::1]", "127.0.0.1", "xn--", "%20"]
)
HOSTS = st.lists(st.sampled_from(["a", "B", "1", "é", "ß", "xn--a", "_", "ex-ample"]), min_size=1, max_size=5).map(
    ".".join
)
URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "HTTPS"]),
    HOSTS | st.sampled_from(["[0:0::1]", "192.0.2.1", "LocalHost"]),
    st.sampled_from(["", ":80", ":443", ":65535"]),
    st.sampled_from(["", "/", "?", "?q", "/a/../b", "/%41;x?y[z]=1"]),
)


@given(URLS | st.lists(CRUMBS, max_size=30).map("".join))
@example("http://a.example:443")
@example("http://BÜCHER.example/%C3%A9?x")
def test_what_was_parsed_parses_to_itself(url: str) -> None:
    try:
        target = parse_target(url)
    except InvalidTarget:
        return
    assert parse_target(target.url) == target
    assert parse_target(target.origin).origin == target.origin
    assert target.url.isascii()
    assert target.url.isprintable()
    assert " " not in target.url
    assert target.path.startswith("/")
    if target.literal is not None:
        assert ip_address(target.host) == target.literal


@given(st.ip_addresses())
def test_every_address_has_one_spelling_that_is_understood(address: IPv4Address | IPv6Address) -> None:
    shown = f"[{address}]" if address.version == 6 else str(address)
    assert parse_target(f"http://{shown}/").literal == address


DENIED_V4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
]
DENIED_V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]


@given(st.ip_addresses(v=4) | st.sampled_from(DENIED_V4).flatmap(lambda net: st.ip_addresses(network=net)))
def test_the_rule_for_ipv4(address: IPv4Address) -> None:
    assert is_public(address) == (not any(address in ip_network(network) for network in DENIED_V4))


@given(
    st.ip_addresses(v=6)
    | st.ip_addresses(network="2000::/3")
    | st.sampled_from(DENIED_V6).flatmap(lambda net: st.ip_addresses(network=net))
)
def test_the_rule_for_ipv6(address: IPv6Address) -> None:
    denied = any(address in ip_network(network) for network in DENIED_V6)
    assert is_public(address) == (address in ip_network("2000::/3") and not denied)


@given(st.sampled_from([*DENIED_V4, *DENIED_V6]))
def test_each_denied_network_ends_where_it_should(network: str) -> None:
    denied = ip_network(network)
    assert not is_public(denied[0])
    assert not is_public(denied[-1])


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_smuggles_an_ipv4_address_in(address: IPv4Address) -> None:
    number = int(address)
    for prefix, shift in (("::ffff:0:0", 0), ("::", 0), ("64:ff9b::", 0), ("64:ff9b:1::", 0), ("2002::", 80)):
        assert not is_public(IPv6Address(int(IPv6Address(prefix)) | number << shift))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "168.63.129.17", "2606:4700::1111", "2a00::1"])
def test_what_is_public_may_be_called(address: str) -> None:
    assert is_public(ip_address(address))


def may_call(url: str, allowed: str = "") -> bool:
    try:
        check_spelling(parse_target(url), AllowedTargets.parse(allowed))
    except ForbiddenTarget:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "allowed", "expected"),
    [
        ("https://api.example.com/", "", True),
        ("http://api.example.com/", "", True),
        ("http://api.example.com:8080/", "", True),
        ("https://api.example.com:8443/", "", True),
        ("http://api.example.com:9000/", "", False),
        ("http://api.example.com:22/", "", False),
        ("http://8.8.8.8/", "", True),
        ("http://8.8.8.8:9000/", "", False),
        ("http://8.8.8.8:9000/", "8.8.8.8:9000", True),
        ("http://127.0.0.1/", "", False),
        ("http://127.0.0.1/", "127.0.0.1", True),
        ("http://127.0.0.1:5000/", "127.0.0.1", True),
        ("http://127.0.0.1:5000/", "127.0.0.1:5000", True),
        ("http://127.0.0.1:5001/", "127.0.0.1:5000", False),
        ("http://127.0.0.2/", "127.0.0.1", False),
        ("http://[::1]/", "::1", True),
        ("http://[::1]:81/", "[::1]:80", False),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1", False),
        ("http://10.1.2.3:9000/", "10.1.2.0/24", True),
        ("http://10.1.3.3:9000/", "10.1.2.0/24", False),
        ("http://10.1.2.3:9000/", "10.1.2.0/24:9001", False),
        ("http://[fd00::5]:9000/", "[fd00::/8]:9000", True),
        ("http://localhost/", "", False),
        ("http://app.localhost/", "", False),
        ("http://localhost:5000/", "127.0.0.1", True),
        ("http://localhost:5000/", "::1", True),
        ("http://localhost:5000/", "10.0.0.0/8", False),
        ("http://localhost:5000/", "localhost:5000", True),
        ("http://localhost:5001/", "localhost:5000", False),
        ("http://notlocalhost/", "", True),
        ("http://billing.internal:9000/", "billing.internal:9000", True),
        ("http://billing.internal:9000/", "Billing.Internal", True),
        ("http://billing.internal:9001/", "billing.internal:9000", False),
        ("http://sub.billing.internal:9000/", "billing.internal:9000", False),
        # The name may stand for an address of the network; the guard will see.
        ("http://db.internal:9000/", "10.1.2.0/24", True),
        ("http://db.internal:9000/", "10.1.2.0/24:9000", True),
        ("http://db.internal:9000/", "10.1.2.0/24:9001", False),
    ],
)
def test_what_may_be_submitted(url: str, allowed: str, expected: bool) -> None:
    assert may_call(url, allowed) == expected


@pytest.mark.parametrize(
    ("url", "shown", "reason"),
    [
        ("http://api.example.com:9000/", "api.example.com:9000", "port 9000 is none of 80, 443, 8080, 8443"),
        ("http://10.0.0.1/", "10.0.0.1", "its address is private or reserved"),
        ("http://8.8.8.8:22/", "8.8.8.8:22", "port 22 is none of 80, 443, 8080, 8443"),
        (
            "http://[::1]:9000/",
            "[::1]:9000",
            "its address is private or reserved and port 9000 is none of 80, 443, 8080, 8443",
        ),
        ("http://localhost/", "localhost", "its name stands for the machine of the service"),
    ],
)
def test_the_refusal_says_what_is_closed_and_what_opens_it(url: str, shown: str, reason: str) -> None:
    with pytest.raises(ForbiddenTarget) as refused:
        check_spelling(parse_target(url), NOTHING)
    assert str(refused.value) == (
        f"{shown} may not be called: {reason}; an operator can allow it in TASKQUEUE_ALLOWED_TARGETS"
    )


def test_an_address_that_a_name_stands_for_is_refused_by_itself_or_by_its_port() -> None:
    private = forbidden(parse_target("http://innocent.example/"), ip_address("10.0.0.1"))
    assert private.reason == "its name leads to an address that is private or reserved"
    closed = forbidden(parse_target("http://innocent.example:22/"), ip_address("8.8.8.8"))
    assert closed.reason == "port 22 is none of 80, 443, 8080, 8443"


def test_the_address_is_for_the_security_log_alone() -> None:
    refusal = forbidden(parse_target("http://innocent.example/"), ip_address("10.0.0.1"))
    assert refusal.address == "10.0.0.1"
    assert "10.0.0.1" not in str(refusal)


@pytest.mark.parametrize(
    ("allowed", "address", "expected"),
    [
        ("", "8.8.8.8", False),  # the port is not one of the usual
        ("billing.internal:9000", "10.9.9.9", True),
        ("billing.internal:9001", "10.9.9.9", False),
        ("10.0.0.0/8", "10.9.9.9", True),
        ("10.0.0.0/8:9001", "10.9.9.9", False),
        ("10.0.0.0/8", "8.8.8.8", False),
    ],
)
def test_what_a_name_may_stand_for(allowed: str, address: str, expected: bool) -> None:
    target = parse_target("http://billing.internal:9000/")
    assert AllowedTargets.parse(allowed).permits(target, ip_address(address)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1,,10.1.2.3/24", "10.0.0.0/33", "0.0.0.0/0", "::/0", "1.0.0.0/7", "fc00::/6", "10.1.2"),
        *("*.example.com", "example.com:0", "example.com:99999", "example.com:", "[::1]80", "[::1]:", "[::1"),
        *("http://example.com", "example.com/path", "exa mple.com", "user@example.com", "::1::", "127.1", "a..b"),
        "fe80::1%eth0",
    ],
)
def test_an_entry_that_cannot_be_meant_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be allowed: ."):
        AllowedTargets.parse(text)


def test_the_allow_list_is_read_with_spaces_and_gaps() -> None:
    assert AllowedTargets.parse("") == AllowedTargets.parse(" , ") == NOTHING
    assert AllowedTargets.parse(" 127.0.0.1 , [::1]:80,") == AllowedTargets.parse("127.0.0.1,[::1]:80")
