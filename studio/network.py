"""Where a request came from and whom it was meant for: hosts, origins, proxies.

    network = Network.of(settings)
    scope = network.admitted(scope, has_accounts=True)     # or a Refusal

Without accounts only this machine is admitted, and nothing that a proxy forwarded. With accounts
the server answers to its own names: `--host`, `--public-url`, STUDIO_ALLOWED_HOSTS. A name that it
does not know is refused (DNS rebinding); an address cannot be rebound, so a server that listens on
every address answers to any. What a trusted proxy says about the client goes into the scope, and
its headers go no further: nothing behind the guard reads them again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from studio.settings import Settings

Scope = MutableMapping[str, Any]
Headers = dict[str, list[str]]
Addresses = ipaddress.IPv4Network | ipaddress.IPv6Network

# With every header that starts with x-forwarded-: proxies make up new ones.
FORWARDED = frozenset({"forwarded", "via", "x-real-ip"})
ANY_ADDRESS = frozenset({"0.0.0.0", "::"})


class Refusal(Exception):
    """Why a request is turned away: a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class Network:
    """What this server answers to beyond this machine, once there are accounts."""

    names: frozenset[str] = frozenset()
    answers_to_any_address: bool = False
    public_url: str | None = None
    proxies: tuple[Addresses, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Network:
        host = settings.host.strip("[]").lower()
        names = {*settings.allowed_hosts, host}
        if host in ANY_ADDRESS:
            names |= {socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        if settings.public_url:
            names.add(urlsplit(settings.public_url).hostname or "")
        return cls(
            names=frozenset(names),
            answers_to_any_address=host in ANY_ADDRESS,
            public_url=settings.public_url,
            proxies=settings.trusted_proxies,
        )

    def admitted(self, scope: Scope, *, has_accounts: bool) -> Scope:
        """The scope as the application sees it, or a Refusal."""
        headers = read_headers(scope)
        if has_accounts:
            peer, scheme, host = self._through_proxy(scope, headers)
            self._check_host(host)
        else:
            peer, scheme, host = scope.get("client"), scope.get("scheme", "http"), _host(headers)
            _check_is_here(peer, headers, host)
        if self._is_public(host) and self.public_url:
            scheme = urlsplit(self.public_url).scheme
        check_origin(headers, host, scope, scheme if self.public_url else None)
        return {
            **scope,
            "client": peer,
            "scheme": scheme,
            "headers": [
                (b"host", host.encode("latin-1")),
                *(
                    (name, value)
                    for name, value in scope["headers"]
                    if (known := name.decode("latin-1").lower()) != "host" and not _is_proxys(known)
                ),
            ],
        }

    def _through_proxy(self, scope: Scope, headers: Headers) -> tuple[Any, str, str]:
        """Client, scheme and host, as a trusted proxy tells them where there is one."""
        peer, scheme = scope.get("client"), scope.get("scheme", "http")
        forwarded = [name for name in headers if _is_proxys(name)]
        if not (peer and self._is_proxy(peer[0])):
            if forwarded:
                raise Refusal(
                    403,
                    f"the header {forwarded[0]!r} says that a proxy forwarded this request, and "
                    f"{(peer or ['nobody'])[0]} is no proxy that this server trusts: name it with "
                    "--trusted-proxy.",
                )
            return peer, scheme, _host(headers)
        chain = [part.strip() for part in ",".join(headers.get("x-forwarded-for", [])).split(",")]
        # From the right: what stands left of the first stranger was said by that stranger.
        for address in reversed([part for part in chain if part]):
            peer = (_address(address), 0)
            if not self._is_proxy(peer[0]):
                break
        scheme = headers.get("x-forwarded-proto", [scheme])[-1].split(",")[-1].strip().lower()
        if scheme not in {"http", "https"}:
            raise Refusal(400, f"x-forwarded-proto is {scheme[:40]!r}: it must be http or https.")
        named = headers.get("x-forwarded-host")
        host = named[-1].split(",")[-1].strip().lower() if named else _host(headers)
        return peer, scheme, host

    def _is_proxy(self, address: str) -> bool:
        try:
            found = _plain(ipaddress.ip_address(address))
        except ValueError:
            return False
        return any(found in network for network in self.proxies)

    def _is_public(self, host: str) -> bool:
        return bool(self.public_url) and host == urlsplit(self.public_url or "").netloc.lower()

    def _check_host(self, host: str) -> None:
        name = _hostname(host)
        if is_loopback(name) or name in self.names:
            return
        if self.answers_to_any_address and _is_address(name):
            return
        raise Refusal(
            403,
            f"this server does not answer to the Host {host[:200]!r}: whoever runs it can add the "
            "name to STUDIO_ALLOWED_HOSTS or give it as --public-url.",
        )


def read_headers(scope: Scope) -> Headers:
    """The request's headers by lower-case name."""
    headers: Headers = {}
    for raw_name, raw_value in scope["headers"]:
        headers.setdefault(raw_name.decode("latin-1").lower(), []).append(
            raw_value.decode("latin-1").strip()
        )
    return headers


def is_loopback(host: str) -> bool:
    """Whether a host name or address always means this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_origin(headers: Headers, host: str, scope: Scope, scheme: str | None) -> None:
    """Refuse what another site's page made the browser send; `scheme` None admits both."""
    schemes = {scheme} if scheme else {"http", "https"}
    for origin in headers.get("origin", []):
        parts = urlsplit(origin)
        if parts.scheme not in schemes or parts.netloc.lower() != host:
            raise Refusal(403, f"a page of {origin[:200]!r} may not use this server at {host!r}.")
    site = headers.get("sec-fetch-site", ["none"])[0].lower()
    if site in {"same-origin", "none"}:
        return
    # Following a link to the page from elsewhere is fine; anything else from there is not.
    is_navigation = (
        scope["type"] == "http"
        and scope["method"] in {"GET", "HEAD"}
        and headers.get("sec-fetch-mode", [""])[0].lower() == "navigate"
        and not scope["path"].startswith(("/api/", "/gradio_api/"))
    )
    if not is_navigation:
        raise Refusal(403, "a page of another site may not use this server.")


def parse_networks(text: str) -> tuple[Addresses, ...]:
    """Addresses and networks separated by commas; ValueError names the one that is neither."""
    return tuple(ipaddress.ip_network(part, strict=False) for part in split_list(text))


def split_list(text: str) -> Iterable[str]:
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def _check_is_here(peer: Any, headers: Headers, host: str) -> None:
    """The rules while there are no accounts: the person at this machine and nobody else."""
    name = _hostname(host)
    if not is_loopback(name) or "@" in host or "/" in host:
        raise Refusal(
            403,
            f"the Host {host[:200]!r} is not this machine: this server has no accounts and answers "
            "only to localhost and 127.0.0.1. From elsewhere, tunnel to it with ssh -L.",
        )
    for header in headers:
        if _is_proxys(header):
            raise Refusal(
                403,
                f"the header {header!r} says that a proxy forwarded this request: this server has "
                "no accounts and serves only the person at this machine.",
            )
    if peer and not is_loopback(peer[0]):
        raise Refusal(403, f"the request came from {peer[0]!r}, not from this machine.")


def _is_proxys(header: str) -> bool:
    """Whether only a proxy sends a header of this lower-case name."""
    return header in FORWARDED or header.startswith("x-forwarded-")


def _host(headers: Headers) -> str:
    hosts = headers.get("host", [])
    if len(hosts) != 1:
        raise Refusal(400, f"a request needs exactly one Host header, this one had {len(hosts)}.")
    return hosts[0].lower()


def _hostname(host: str) -> str:
    if "@" in host or "/" in host:
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _address(text: str) -> str:
    try:
        return str(_plain(ipaddress.ip_address(text.strip("[]"))))
    except ValueError:
        raise Refusal(400, f"x-forwarded-for holds {text[:60]!r}, which is no address.") from None


def _plain(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address that an IPv6 socket reports, as what it is."""
    return getattr(address, "ipv4_mapped", None) or address
