"""Asks a server of the page for things, over real connections."""

import http.client
import json
from types import SimpleNamespace

import numpy as np


class Client:
    """Asks a server as a browser of its page would, unless told otherwise."""

    def __init__(self, server):
        self.server = server
        self.port = server.server_address[1]

    def ask(self, method, path, body=None, headers=None, **changes):
        """Status, headers and body; a header that is ``None`` is left out."""
        host = f'127.0.0.1:{self.port}'
        own = {
            'Host': host,
            'Origin': f'http://{host}' if method != 'GET' else None,
            'X-STT-MM': '1',
            **(headers or {}),
        }
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            length = None if body is None else str(len(body))
            for name, value in {'Content-Length': length, **own}.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders()
            if body:
                connection.send(body)
            reply = connection.getresponse()
            return SimpleNamespace(status=reply.status, headers=reply.headers, body=reply.read())
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.ask('GET', path, None, headers)

    def post(self, path, content, headers=None):
        return self.ask('POST', path, json.dumps(content).encode(), headers)

    def paint(self, video, number, frame, area, revision):
        """Send the area of an object."""
        query = f'video={video}&object={number}&frame={frame}&revision={revision}'
        return self.ask('PUT', f'/api/area?{query}', np.packbits(area).tobytes())


def error_of(reply):
    return json.loads(reply.body)['error']
