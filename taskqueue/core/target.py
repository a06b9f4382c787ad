"""Which URLs are understood, and which hosts, addresses and ports may be called."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import idna

from taskqueue.core.errors import ForbiddenTarget, InvalidTarget
from taskqueue.core.lambda_function import PREFIX as LAMBDA
from taskqueue.core.lambda_function import LambdaFunction

Address = IPv4Address | IPv6Address

MAX_URL_BYTES = 2048
PORTS = frozenset({80, 443, 8080, 8443})  # open to everyone; an entry of the allow-list opens others
_DEFAULT_PORT = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?", re.DOTALL)
_NEARLY_FUNCTION = re.compile(r"lambda:|arn:aws[a-z-]*:lambda:", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:.*)?", re.DOTALL)
_UNSAFE = re.compile(r"""[\x00-\x20\x7f-\U0010ffff"<>\\^`{|}]""")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# Resolvers take a host whose last label is a number for an address, in spellings that no check foresees.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?", re.DOTALL)
_MAX_HOST = 253


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, in the one spelling that was checked."""

    url: str  # ASCII; as given, but for the spelling of scheme and host
    scheme: str
    host: str  # lower case, without brackets
    port: int
    path: str  # with the query
    origin: str  # scheme://host:port, the port always named
    host_header: str
    literal: Address | None  # of a host that is an address
    lambda_function: LambdaFunction | None = None


def parse_target(url: str, *, pointer: str = "/targetUrl", functions: bool = False) -> Target:
    """Read an absolute http(s) URL strictly, and where ``functions`` may be called also ``lambda://name``.

    ``InvalidTarget`` names ``pointer`` and says what to write instead.
    """
    try:
        if url[: len(LAMBDA)].lower() == LAMBDA:
            return _parse_function(url[len(LAMBDA) :], functions=functions)
        if functions and _NEARLY_FUNCTION.match(url):
            raise _Unreadable(f"a function is written {LAMBDA}name, {LAMBDA}name:alias or {LAMBDA}arn:aws:lambda:…")
        return _parse(url)
    except _Unreadable as error:
        raise InvalidTarget(pointer, str(error)) from None


class _Unreadable(ValueError):
    """What is wrong with a spelling, and what to write instead."""


def _parse(url: str) -> Target:
    if len(url) > MAX_URL_BYTES:
        raise _Unreadable(f"the URL is longer than {MAX_URL_BYTES} bytes")
    match = _URL.fullmatch(url)
    if match is None:
        raise _Unreadable("this is not an absolute URL; write one that begins with https:// or http://")
    if (scheme := match[1].lower()) not in _DEFAULT_PORT:
        raise _Unreadable(
            f"the scheme {scheme[:20]} cannot be called; write a URL that begins with https:// or http://"
        )
    _, authority, rest, fragment = match.groups()
    if fragment is not None:
        raise _Unreadable("a fragment (#...) is never sent to a target; leave it out")
    _check_rest(rest)
    bracketed, port = _host_and_port(authority, _DEFAULT_PORT[scheme])
    host, literal = _host(bracketed)
    shown = f"[{host}]" if isinstance(literal, IPv6Address) else host
    explicit = authority[len(bracketed) :]
    normal = f"{scheme}://{shown}{explicit}{rest}"
    if len(normal) > MAX_URL_BYTES:
        raise _Unreadable(f"the URL is longer than {MAX_URL_BYTES} bytes")
    return Target(
        url=normal,
        scheme=scheme,
        host=host,
        port=port,
        path=rest if rest.startswith("/") else f"/{rest}",
        origin=f"{scheme}://{shown}:{port}",
        host_header=shown if port == _DEFAULT_PORT[scheme] else f"{shown}:{port}",
        literal=literal,
    )


def _parse_function(rest: str, *, functions: bool) -> Target:
    if not functions:
        raise _Unreadable("a function can be the target of a task alone; write a URL that begins with https:// here")
    reference, question, query = rest.partition("?")
    try:
        function = LambdaFunction.parse(reference, question + query)
    except ValueError as error:
        raise _Unreadable(str(error)) from None
    # Where it is invoked is the operator's to say. Port 0 is no place at all: nothing ever connects to it.
    return Target(
        url=function.url,
        scheme="lambda",
        host=function.name,
        port=0,
        path=function.path,
        origin=function.origin,
        host_header=function.name,
        literal=None,
        lambda_function=function,
    )


def _check_rest(rest: str) -> None:
    if _UNSAFE.search(rest):
        raise _Unreadable("the path or query holds a character that must be percent-encoded (a space is %20)")
    if _STRAY_PERCENT.search(rest):
        raise _Unreadable("the path or query holds a % without two hex digits behind it; a percent sign is %25")


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise _Unreadable("the URL must not hold a user name or password; send credentials in a header")
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        raise _Unreadable("the host is not readable; write an IPv6 address in brackets")
    host, port = match.groups()
    return host, default_port if port is None else _port(port[1:])


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise _Unreadable("the port must be a plain number from 1 to 65535")
    return int(text)


def _host(text: str) -> tuple[str, Address | None]:
    """The host in its one spelling, and the address it is, if it is one."""
    if text.startswith("["):
        address = _ipv6(text[1:-1])
        return str(address), address
    if _NUMERIC.fullmatch(text):
        try:
            return text, IPv4Address(text)
        except ValueError:
            raise _Unreadable("an IPv4 address must be written as four plain decimal numbers: 192.0.2.1") from None
    name = _ascii_name(text)
    # A dot or digit of another script may have become ours.
    if not _NAME.fullmatch(name) or len(name) > _MAX_HOST or _NUMERIC.fullmatch(name):
        raise _Unreadable("the host is not a name that can be looked up, such as api.example.com")
    return name, None


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise _Unreadable("an IPv6 address must not name a network interface (%)")
    try:
        return IPv6Address(text)
    except ValueError:
        raise _Unreadable("what stands in brackets is not an IPv6 address") from None


def _ascii_name(text: str) -> str:
    if not text:
        raise _Unreadable("the URL has no host")
    if text.isascii():
        return text.lower()
    if len(text) > _MAX_HOST:
        raise _Unreadable("the host is longer than 253 characters")
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError:
        raise _Unreadable("the host is not a valid international name") from None


def _ranges(*networks: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First and last addresses of ``networks`` as numbers, in order."""
    ordered = sorted(map(ip_network, networks), key=lambda network: int(network.network_address))
    return (
        tuple(int(network.network_address) for network in ordered),
        tuple(int(network.broadcast_address) for network in ordered),
    )


_PRIVATE_V4 = _ranges(
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    "168.63.129.16/32",  # a cloud's host answers here, on an address that looks public
)
_UNICAST_V6 = _ranges("2000::/3")
# The rest of IPv6 is closed whole, and with it every form that carries an IPv4 address: mapped, translated, 6to4.
_PRIVATE_V6 = _ranges("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")


def is_public(address: Address) -> bool:
    """Whether anybody's task may call ``address``. Stricter than ``is_global``, which lets tunnels through."""
    number = int(address)
    if address.version == 4:
        return not _within(number, _PRIVATE_V4)
    return _within(number, _UNICAST_V6) and not _within(number, _PRIVATE_V6)


def _within(number: int, ranges: tuple[tuple[int, ...], tuple[int, ...]]) -> bool:
    firsts, lasts = ranges
    at = bisect_right(firsts, number) - 1
    return at >= 0 and number <= lasts[at]


@dataclass(frozen=True, slots=True)
class AllowedTargets:
    """What an operator opens beyond public addresses on the usual ports. A port of ``None`` stands for any."""

    names: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[tuple[IPv4Network | IPv6Network, int | None], ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowedTargets:
        """Read ``127.0.0.1,10.1.2.0/24,billing.internal:9000,[::1]:80``; ``ValueError`` says which entry is wrong."""
        names, networks = set(), []
        for entry in filter(None, map(str.strip, text.split(","))):
            try:
                host, port = _entry(entry)
            except ValueError as error:
                raise ValueError(f"{entry[:60]!r} cannot be allowed: {error}") from None
            if isinstance(host, str):
                names.add((host, port))
            else:
                networks.append((host, port))
        return cls(frozenset(names), tuple(networks))

    def permits(self, target: Target, address: Address) -> bool:
        """Whether ``target`` may be called at ``address``, which is its own or one that its name stands for now."""
        if is_public(address) and target.port in PORTS:
            return True
        return self._name(target) or self._covers(address, target.port)

    def permits_name(self, target: Target) -> bool:
        """Whether some address of a name could be permitted; each is judged on its own once it is known."""
        if self._name(target):
            return True
        if _is_localhost(target.host):
            return any(self._covers(address, target.port) for address in _LOOPBACK)
        return target.port in PORTS or any(port in (None, target.port) for _, port in self.networks)

    def _name(self, target: Target) -> bool:
        return (target.host, None) in self.names or (target.host, target.port) in self.names

    def _covers(self, address: Address, port: int) -> bool:
        return any(address in network and allowed in (None, port) for network, allowed in self.networks)


_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_WIDEST = {4: 8, 6: 7}  # 10.0.0.0/8 and fc00::/7 are the widest private networks there are


def check_spelling(target: Target, allowed: AllowedTargets) -> None:
    """Refuse at submit what the spelling alone forbids, with ``ForbiddenTarget``.

    Plain http passes: the guard is about addresses. Those of a name are judged when it is called, each time anew.
    """
    permitted = allowed.permits_name(target) if target.literal is None else allowed.permits(target, target.literal)
    if not permitted:
        raise forbidden(target)


def forbidden(target: Target, address: Address | None = None) -> ForbiddenTarget:
    """The refusal of ``target``, at ``address`` if that is known; the address itself is told to nobody but the log."""
    shown = target.host if target.port in PORTS else target.origin.partition("://")[2]
    return ForbiddenTarget(shown, None if address is None else str(address), reason=_refusal(target, address))


def _refusal(target: Target, address: Address | None) -> str:
    """What is wrong: the address, the port, or both."""
    found = []
    if target.literal is not None:
        found += [] if is_public(target.literal) else ["its address is private or reserved"]
    elif address is not None:
        found += [] if is_public(address) else ["its name leads to an address that is private or reserved"]
    elif _is_localhost(target.host):
        found.append("its name stands for the machine of the service")
    if target.port not in PORTS:
        found.append(f"port {target.port} is none of {', '.join(map(str, sorted(PORTS)))}")
    return " and ".join(found)


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _entry(entry: str) -> tuple[str | IPv4Network | IPv6Network, int | None]:
    if "://" in entry:
        raise ValueError("name the host alone, without a scheme or path")
    host, port = _split_entry(entry)
    if "*" in host:
        raise ValueError("there are no wildcards; name each host, or a network such as 10.1.2.0/24")
    if "/" not in host:
        name, literal = _host(f"[{host}]" if ":" in host else host)
        return (name if literal is None else ip_network(literal)), port
    network = ip_network(host)
    if network.prefixlen < _WIDEST[network.version]:
        raise ValueError("the network is too wide; name the networks that are meant")
    return network, port


def _split_entry(entry: str) -> tuple[str, int | None]:
    """Host or network without brackets, and the port."""
    if entry.startswith("["):
        host, closing, port = entry[1:].partition("]")
        if not closing or port[:1] not in ("", ":"):
            raise ValueError("write a port as [address]:port")
        return host, _port(port[1:]) if port else None
    if entry.count(":") != 1:
        return entry, None
    host, _, port = entry.partition(":")
    return host, _port(port)
