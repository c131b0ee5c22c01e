"""Parse what a user gives to reach a server: its address, the proxy before it, and the values of headers."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from hlmat_bench.core.errors import UsageError

PORTS = {"http": 80, "https": 443}
_BLANKS = " \t\r\n\v\f\ufeff\u200b\u00a0"


class Proxy(NamedTuple):
    """The proxy for an address: the environment variable that names it, its address without login, and its login."""

    variable: str
    parts: SplitResult
    login: str


def header_value(text: str, what: str) -> str:
    """Strip blanks and line breaks from a key or another value of a header, and check it.

    Args:
        text: the value as the user gave it.
        what: name of the value for the message, which never shows the value itself.

    Raises:
        UsageError: when a header cannot hold the value.
    """
    value = text.strip(_BLANKS)
    if not re.fullmatch(r"[\x20-\x7e]*", value) or (" " in value and "key" in what):
        raise UsageError(
            f"{what} holds a character that no key has (a line break, a blank, a typographic quote or a letter that is "
            "not Latin); copy it again."
        )
    return value


def parts_of(url: str, option: str) -> tuple[SplitResult, int]:
    """Return the parts of an address, and its port.

    Args:
        url: the address.
        option: the option that gave it, for messages.

    Raises:
        UsageError: when it is no address of an HTTP server.
    """
    text = url.strip(_BLANKS)
    try:
        parts = urlsplit(text)
        port = parts.port
        host = (parts.hostname or "").encode("idna")
    except ValueError:  # UnicodeError is one
        raise no_address(option) from None
    if parts.scheme not in PORTS or not host or port == 0 or re.search(r"[\s\x00-\x1f\\]", text):
        raise no_address(option)
    return parts, port or PORTS[parts.scheme]


def no_address(option: str) -> UsageError:
    """Return the error for an option that must be the address of a server and is not."""
    return UsageError(
        f"{option}= must look like http://localhost:8000/v1: http or https, a host, and a port from 1 to 65535."
    )


def proxy_for(parts: SplitResult) -> Proxy | None:
    """Return the proxy that the environment names for an address; None without one."""
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    for scheme in (parts.scheme, "all"):
        if url := proxies.get(scheme):
            return _as_proxy(f"{scheme}_proxy", url)
    return None


def _as_proxy(variable: str, url: str) -> Proxy:
    """Read the address of a proxy.

    Raises:
        UsageError: when requests cannot go through it.
    """
    try:
        found = urlsplit(url if "://" in url else f"http://{url}")
        usable = found.scheme in PORTS and bool(found.hostname) and found.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"{variable} names no proxy that can be used; it must look like http://HOST:PORT, or unset it, or add the "
            "server to no_proxy."
        )
    login, _, place = found.netloc.rpartition("@")
    return Proxy(variable, found._replace(netloc=place, path=""), login)


def environment_headers(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the headers whose environment variables are set.

    Args:
        variables: the environment variable for each header.

    Raises:
        UsageError: when a header cannot hold a value.
    """
    found = {name: header_value(os.environ.get(variable, ""), variable) for name, variable in variables.items()}
    return {name: value for name, value in found.items() if value}
