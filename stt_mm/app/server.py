"""The page and what it asks for, over HTTP, for the browser of this machine.

What is asked from another origin is refused, and so is a name of this machine that it does not have: without that, a
foreign page could let its own name lead here. What changes something needs a header besides, which a foreign page
cannot send. The page itself loads nothing from elsewhere.
"""

import gzip
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from stt_mm.app.library import TooLargeError
from stt_mm.app.session import ConflictError
from stt_mm.app.studio import Reply, Studio
from stt_mm.errors import InputError, MissingInputError, SttMMError

logger = logging.getLogger(__name__)

HEADER = 'X-STT-MM'
_STATIC = Path(__file__).parent / 'static'
_TYPES = {'.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml'}
_LARGEST_BODY = 64 << 20  # bytes, but for uploads; the mask of a frame of 16K has 16 MB
_NO_END = 1 << 62
_SECONDS_IDLE = 120
_SECONDS_TO_LISTEN = 2  # after a refusal
_POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class ForbiddenError(InputError):
    """Asked from where it must not be."""


class LengthError(InputError):
    """A body whose length is not said."""


_STATUS = (
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (LengthError, HTTPStatus.LENGTH_REQUIRED),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (ConflictError, HTTPStatus.CONFLICT),
    (MissingInputError, HTTPStatus.NOT_FOUND),
    (InputError, HTTPStatus.BAD_REQUEST),
    (SttMMError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


class Server(ThreadingHTTPServer):
    """The server of one studio.

    Args:
        studio: what answers.
        host: address, or name, that it listens to.
        port: 0 for any that is free.

    Raises:
        OSError: it cannot listen there.
    """

    daemon_threads = True

    def __init__(self, studio: Studio, host: str = '127.0.0.1', port: int = 0) -> None:
        self.studio = studio
        self.host = host
        self.address_family = socket.AF_INET6 if ':' in host else socket.AF_INET
        super().__init__((host, port), Handler)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.server_address[0]).is_loopback
        return False

    @property
    def url(self) -> str:
        """Of the page."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'http://{host}:{self.server_address[1]}/'

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this machine; numbers cannot be made to lead elsewhere, names can."""
        try:
            name = urlsplit(f'//{host}').hostname or ''
        except ValueError:
            return False
        if name in ('localhost', self.host.lower()):
            return True
        with suppress(ValueError):
            address = ipaddress.ip_address(name)
            return address.is_loopback if self.is_local else True
        return not self.is_local and name in (socket.gethostname().lower(), socket.getfqdn().lower())


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = 'HTTP/1.1'
    server_version = 'stt_mm'
    sys_version = ''
    timeout = _SECONDS_IDLE
    server: Server

    def do_GET(self) -> None:
        """Something is asked for."""
        self._answer('GET')

    def do_HEAD(self) -> None:
        """What would be answered is asked for."""
        self._answer('GET')

    def do_POST(self) -> None:
        """Something is to change."""
        self._answer('POST')

    def do_PUT(self) -> None:
        """Something is sent."""
        self._answer('PUT')

    def log_message(self, format: str, *args: Any) -> None:
        """Into the log of the program, where it is not seen unless asked for."""
        logger.debug('%s %s', self.address_string(), format % args)

    def _answer(self, method: str) -> None:
        length = self.headers.get('Content-Length', '0')
        known = length.isascii() and length.isdecimal() and len(length) < 16 and 'Transfer-Encoding' not in self.headers
        # What is not read of a request would be taken for the next one.
        self._left = int(length) if known else _NO_END
        try:
            parts = urlsplit(self.path)
            self._check_origin(method, parts.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            reply = self._reply(method, parts.path, query)
        except SttMMError as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            reply = Reply(json.dumps(dict(error=str(error))).encode(), status=status)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except Exception as error:
            # The page has to say it, and the server goes on; what is wrong with the code stands in the log.
            logger.exception('%s %s ended by a fault of the code.', method, self.path)
            text = f'A fault of the program ({type(error).__name__}: {error}).'
            reply = Reply(json.dumps(dict(error=text)).encode(), status=HTTPStatus.INTERNAL_SERVER_ERROR)
        with suppress(ConnectionError, TimeoutError):
            self._send(reply)
            self._drain()

    def _check_origin(self, method: str, path: str) -> None:
        host, origin = self.headers.get('Host', ''), self.headers.get('Origin')
        if not self.server.knows(host):
            raise ForbiddenError(f'{host!r} is no name of this machine that is served here. Open {self.server.url}')
        if origin is not None and origin != f'http://{host}':
            raise ForbiddenError(f'Requests from {origin} are refused: only the page of {self.server.url} may ask.')
        site = self.headers.get('Sec-Fetch-Site', 'none')
        if site not in ('none', 'same-origin') and path != '/':
            raise ForbiddenError(f'Requests of another site are refused. Open {self.server.url}')
        if method != 'GET' and self.headers.get(HEADER) != '1':
            raise ForbiddenError(f'A request that changes something needs the header {HEADER}: 1.')

    def _reply(self, method: str, path: str, query: Mapping[str, str]) -> Reply:
        studio = self.server.studio
        if method == 'GET':
            if path == '/' or path.startswith('/static/'):
                return _static(path)
            return studio.get(path, query)
        if 'Content-Length' not in self.headers or self._left == _NO_END:
            raise LengthError('The length of what is sent must be said in advance, in bytes (Content-Length).')
        if (method, path) == ('PUT', '/api/upload'):
            return studio.upload(_Body(self), self._left)
        if self._left > _LARGEST_BODY:
            raise TooLargeError(
                f'{self._left / 1e6:.1f} MB are too much for {path}; at most {_LARGEST_BODY / 1e6:.1f} MB.'
            )
        body = _Body(self).read(self._left)
        return studio.put(path, query, body) if method == 'PUT' else studio.post(path, query, _read_json(body))

    def _send(self, reply: Reply) -> None:
        body, packed = reply.body, 'gzip' in self.headers.get('Accept-Encoding', '') and reply.packs
        if isinstance(body, Path):
            length = body.stat().st_size
        else:
            body = gzip.compress(body, 1) if packed else body
            length = len(body)
        if self._left > 0:
            self.close_connection = True
        self.send_response(reply.status)
        headers = {
            'Content-Type': reply.kind,
            'Content-Length': str(length),
            'Cache-Control': 'private, max-age=3600' if reply.keeps else 'no-store',
            'Content-Security-Policy': _POLICY,
            'Cross-Origin-Resource-Policy': 'same-origin',
            'Referrer-Policy': 'no-referrer',
            'X-Content-Type-Options': 'nosniff',
        }
        if packed:
            headers['Content-Encoding'] = 'gzip'
        if reply.name:
            headers['Content-Disposition'] = f"attachment; filename*=UTF-8''{quote(reply.name)}"
        if self.close_connection:
            headers['Connection'] = 'close'
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'HEAD':
            return
        if isinstance(body, Path):
            with open(body, 'rb') as file:
                self.connection.sendfile(file)
        else:
            self.wfile.write(body)

    def _drain(self) -> None:
        """Read on for a moment after a refusal, as a browser does not look at an answer while it is sending."""
        if self._left <= 0:
            return
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(_SECONDS_TO_LISTEN)
        until = time.monotonic() + _SECONDS_TO_LISTEN
        while time.monotonic() < until and _Body(self).read(1 << 16):
            pass


class _Body:
    """What is sent with a request, and not a byte beyond it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def read(self, size: int) -> bytes:
        """At most so many bytes, fewer at the end."""
        data = self._handler.rfile.read(min(size, self._handler._left))
        self._handler._left -= len(data)
        return data


def _static(path: str) -> Reply:
    name = 'index.html' if path == '/' else path.removeprefix('/static/')
    names = {file.name: file for file in _STATIC.iterdir()}
    if name not in names or names[name].suffix not in _TYPES:
        raise MissingInputError(f'There is no {path}.')
    return Reply(names[name].read_bytes(), f'{_TYPES[names[name].suffix]}; charset=utf-8', packs=True)


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body or b'{}')
    except (ValueError, RecursionError):
        raise InputError('What was sent is no JSON.') from None
    if not isinstance(content, dict):
        raise InputError('What was sent is no JSON object.')
    return content
