"""Connections to a model's server: its address, its key, the proxy before it, and why it does not answer.

Requests use the aiohttp transport of the openai package, the only one of its transports that keeps hundreds of
requests in flight. They do not use its typed client, which takes more time per request than everything else together.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, unquote

from hlmat_bench.core.errors import HlmatError, RequestFailed, TryAgain, UsageError
from hlmat_bench.models.api import decisions
from hlmat_bench.models.api.address import PORTS, no_address, parts_of, proxy_for
from hlmat_bench.models.api.retries import persist
from hlmat_bench.models.api.throttle import Throttle

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_SECRET_NAMES = re.compile(r"key|token|secret|password|sig|code|auth", re.IGNORECASE)
#: OpenSSL's reasons for a server that answers a TLS greeting with something else.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")


class ApiClient:
    """Connections to one server, opened anew for each event loop.

    Args:
        url: the server's address, with or without a login (RFC 3986) and a query.
        option: the option that gave the address, for messages.
        path: text to add to the path of the address, before the query.
        headers: headers of every request. A login in the address is sent if they have no ``Authorization``.
        secrets: words that no message may show; the login and the keys and tokens in the query are added to them.
        advice: what the user can do against some kinds of refusals; see `hlmat_bench.models.api.refusals.ADVICE`.
        timeout: seconds that the server may be silent.
        deadline: seconds for a request with all its repetitions.
        retries: most repetitions of a request; repetitions after too many requests do not count.

    Attributes:
        host: name of the server.
        shown: the address without login and query.
        advice: the advice that was given, by the kind of refusal.

    Raises:
        UsageError: when the address cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        option: str,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        advice: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        deadline: float = 600.0,
        retries: int = 6,
    ) -> None:
        self._option, self._timeout, self._deadline, self._retries = option, timeout, deadline, retries
        self.advice = dict(advice or {})
        parts, self._port = parts_of(url, option)
        self.host = parts.hostname or ""
        login, _, place = parts.netloc.rpartition("@")
        whole = parts.path.rstrip("/").removesuffix(path) + path
        self._target = parts._replace(netloc=place, path=whole, fragment="").geturl()
        self.shown = parts._replace(netloc=place, query="", fragment="").geturl()
        self._tls = parts.scheme == "https"
        basic = base64.b64encode(unquote(login).encode()).decode()
        self._headers = ({"Authorization": f"Basic {basic}"} if login else {}) | dict(headers or {})
        self._proxy = proxy_for(parts)
        hidden = [value for name, value in parse_qsl(parts.query) if _SECRET_NAMES.search(name)]
        mine = (parts.password, unquote(parts.password or ""), basic if login else "", *hidden)
        theirs = unquote(self._proxy.login.partition(":")[2]) if self._proxy else ""
        self._secrets = tuple(sorted({word for word in (*secrets, *mine, theirs) if word}, key=len, reverse=True))
        self._reached = self._answered = False
        self._client: httpx2.AsyncClient | None = None
        self._throttle = Throttle()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, body: bytes, read: Callable[[bytes], T], fields: Iterable[str] = ()) -> T:
        """Send one JSON body, repeat it while that may help, and return what ``read`` makes of the response's body.

        Args:
            body: body of the request.
            read: reads the body of a success; raises RequestFailed or TryAgain if it holds no reply, and
                `decisions.ErrorAnswer` if it holds an error.
            fields: the names of the request's fields, without its model and messages.

        Raises:
            RequestFailed: when the request failed for good; no error holds a secret.
            UsageError: when no request can succeed; `decisions.FieldRefused` if the reason is a field of the request.
            decisions.Withheld: when the service's content filter blocks the prompt.
        """
        await self._reach()
        context = decisions.RequestContext(self.advice, frozenset(fields), self._deadline, self.shown)
        once = partial(self._once, body, read, context)
        self._connected()  # in a new event loop, this also makes a new throttle
        try:
            return await persist(once, throttle=self._throttle, retries=self._retries, deadline=self._deadline)
        except RequestFailed:
            await self._reach(again=True)  # if the server is gone, the run ends: no other request can succeed
            raise

    async def _once(self, body: bytes, read: Callable[[bytes], T], context: decisions.RequestContext) -> T:
        response = await self._post(body)
        failure: HlmatError | None = None
        if response.is_success:
            try:
                return read(response.content)
            except decisions.ErrorAnswer:
                pass
            except RequestFailed as error:
                said = f"{self.host}: {self.clean(str(error))}"
                failure = type(error)(said, advice=error.advice)
        if failure is None:
            decision = decisions.decide(response.status_code, response.headers, response.content, context)
            failure = decision.error(self.host, self.clean)
        raise failure  # outside of the handlers: the error's cause may hold the key

    async def _post(self, body: bytes) -> httpx2.Response:
        """Send one JSON body and return the whole response, whatever its status.

        Raises:
            TryAgain: when the connection broke or the server was silent; without secrets.
            UsageError: when no request can get through.
        """
        import aiohttp
        import httpx2

        client = self._connected()
        try:
            response = await client.post(self._target, content=body)
        except (httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, ssl.SSLError, UnicodeError) as error:
            trouble = self._trouble(error)
        else:
            self._answered = True
            return response
        if isinstance(trouble, TryAgain) and not self._answered and await self._wants_tls():
            trouble = UsageError(f"The server at {self.host} speaks TLS; write https:// in {self._option}=.")
        raise trouble  # outside of the handlers: the error's cause would hold the request and its key

    async def _reach(self, *, again: bool = False) -> None:
        """Check that a server listens at the address: a missing server is the user's mistake, a busy one is not.

        Args:
            again: check again even if the server was reached before.

        Raises:
            UsageError: when nothing listens at the address of the server, or of its proxy.
        """
        if self._reached and not again:
            return
        host, port = self.host, self._port
        if self._proxy is not None:
            host, port = self._proxy.parts.hostname or "", self._proxy.parts.port or PORTS[self._proxy.parts.scheme]
        if not await _opens(host, port):
            raise UsageError(self._absent(host, port))
        self._reached = True

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def clean(self, text: str) -> str:
        """Return a text as one line of at most 200 characters without secrets."""
        return " ".join(self.without_secrets(text).split())[:200].rstrip(".")

    def without_secrets(self, text: str, shortest: int = 1) -> str:
        """Replace each secret of at least ``shortest`` characters in a text by ``***``."""
        for secret in self._secrets:
            if len(secret) >= shortest:
                text = text.replace(secret, "***")
        return text

    def _connected(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop, self._client, self._throttle = loop, self._made(), Throttle()
        return self._client

    def _made(self) -> httpx2.AsyncClient:
        """Make a client for the running event loop.

        Raises:
            UsageError: when the environment names certificates or proxies that cannot be used.
        """
        import openai

        timeout = openai.Timeout(self._timeout, connect=_CONNECT_SECONDS)
        headers = {"Content-Type": "application/json", **self._headers}
        try:
            return openai.DefaultAioHttpClient(timeout=timeout, follow_redirects=False, headers=headers)
        except OSError as error:  # ssl.SSLError is one
            words = f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read ({error.strerror})"
            problem = UsageError(f"{words}; name a PEM file, or unset the variable.")
        except (ValueError, ImportError):
            problem = UsageError(
                "A proxy that the environment names cannot be used; correct http_proxy, https_proxy and all_proxy."
            )
        raise problem

    def _trouble(self, error: BaseException) -> HlmatError:
        """Turn an error of the transport into an error that does not hold the request and its key."""
        import aiohttp
        import httpx2

        causes = list(_causes(error))[::-1]  # the first cause says most
        if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | UnicodeError):
            return no_address(self._option)
        for cause in causes:
            if isinstance(cause, ssl.SSLError) and (trouble := self._tls_trouble(cause)):
                return trouble
            if isinstance(cause, aiohttp.ClientHttpProxyError):
                return UsageError(f"{self._via(cause.status)}; correct its settings, or add {self.host} to no_proxy.")
            if isinstance(cause, aiohttp.ClientProxyConnectionError) and self._proxy is not None:
                return UsageError(self._absent(self._proxy.parts.hostname or "", self._proxy.parts.port or 80))
        if any(isinstance(cause, TimeoutError) for cause in causes):  # the transport also calls a broken connection so
            return TryAgain(
                f"{self.host} did not answer within {self._timeout:g} seconds",
                advice="take a longer timeout=, or a lower concurrency=",
            )
        through = f" through the proxy {self._named_proxy()}" if self._proxy else ""
        return TryAgain(
            f"the connection to {self.host}{through} broke",
            advice=f"look whether the server runs, and at {self._option}=",
        )

    def _tls_trouble(self, error: ssl.SSLError) -> UsageError | None:
        """Turn a failed TLS handshake into an error for the user; None if a repetition may succeed."""
        if isinstance(error, ssl.SSLCertVerificationError) and hasattr(error, "verify_message"):
            said = f"The certificate of {self.host} is not trusted ({error.verify_message.rstrip('.')})"
            if "ismatch" in error.verify_message:
                return UsageError(f"{said}; write the name that is in the certificate in {self._option}=.")
            return UsageError(f"{said}; name the file of its certificate authority: SSL_CERT_FILE=ca.pem.")
        if getattr(error, "reason", None) in _NO_TLS and not self._answered:
            return UsageError(f"The server at {self.host} does not speak TLS; write http:// in {self._option}=.")
        return None

    async def _wants_tls(self) -> bool:
        """Tell whether a server that has closed every plain connection so far speaks TLS."""
        if self._tls or self._proxy is not None:
            return False
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return await _opens(self.host, self._port, context)

    def _absent(self, host: str, port: int) -> str:
        if self._proxy is None:
            return f"There is no server at {host}:{port}; start it, or name its address with {self._option}=."
        return (
            f"There is no proxy at {host}:{port}, which {self._proxy.variable} names; correct or unset the variable, "
            f"or add {self.host} to no_proxy."
        )

    def _via(self, status: int) -> str:
        return f"The proxy {self._named_proxy()} did not let a request to {self.host} through (HTTP {status})"

    def _named_proxy(self) -> str:
        assert self._proxy is not None
        return f"{self._proxy.parts.netloc} (from {self._proxy.variable})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the error that it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


async def _opens(host: str, port: int, context: ssl.SSLContext | None = None) -> bool:
    """Tell whether a connection to a port can be opened, with TLS where a context is given."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), _CONNECT_SECONDS)
    except (OSError, TimeoutError, UnicodeError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
