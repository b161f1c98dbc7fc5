"""Refuse requests that a web site makes through the browser of a visitor.

Any page that a user opens can send requests to the user's computer. The browser names the page's
site in `Origin`. A site whose name is made to point to this computer (DNS rebinding) counts as the
same site, but `Host` has its name.
"""

import contextlib
import ipaddress
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sidebyside.serving.answer import error_response


def same_site(application: ASGIApp, name: str) -> ASGIApp:
    """Return an application that answers only requests of its own pages and of other programs.

    Args:
        application: the application.
        name: name of this computer that the server was started with, in addition to the others.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        reason = refusal(headers.get("host"), headers.get("origin"), name)
        if reason is None:
            await application(scope, receive, send)
        else:
            answer = error_response(HTTPStatus.FORBIDDEN, reason, {"Connection": "close"})
            await answer(scope, receive, send)

    return call


def refusal(host: str | None, origin: str | None, name: str) -> str | None:
    """Return why a request is refused; None if it is not.

    Args:
        host: value of the header, None from a program that sends none (HTTP/1.0).
        origin: value of the header, None from other programs than browsers.
        name: name of this computer that the server was started with.
    """
    if host is not None and not _is_this_computer(host, name):
        return f"Host is {host:.80}: use an IP address, localhost or the name given with --host"
    if origin is not None and origin.partition("://")[2].lower() != (host or "").lower():
        return f"Origin is {origin:.80}: requests of other web sites are refused"
    return None


def _is_this_computer(host: str, name: str) -> bool:
    """Return whether a host, with or without a port, can not be the name of a web site.

    A name without a dot is one of the local network, such as a container's.
    """
    try:
        found = urlsplit(f"//{host}").hostname or "."
    except ValueError:
        return False
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(found)
        return True
    return "." not in found or found == name.lower()
