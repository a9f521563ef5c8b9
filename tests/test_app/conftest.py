"""A small video, the network of colours, and a server of the page."""

import http.client
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_data import moving_shapes, write_image, write_video

from stt_mm.apis import VideoPropagator
from stt_mm.app.library import Library
from stt_mm.app.server import Server
from stt_mm.app.studio import Studio

FRAMES, SIZE = 12, (64, 96)


@pytest.fixture(scope='session')
def propagator():
    return VideoPropagator('eval/davis_color', None, 'cpu', {'model.propagator.protocol.short_side': 64})


@pytest.fixture(scope='session')
def shapes():
    """Frames [T, H, W, 3] and their ids [T, H, W] of two objects."""
    return moving_shapes(FRAMES, SIZE, 2)


@pytest.fixture
def place(tmp_path, shapes):
    """A folder with a video as a file and as frames, a folder in it, and a file outside of it."""
    root = tmp_path / 'videos'
    write_video(root / 'talk.mp4', shapes[0])
    for t, frame in enumerate(shapes[0]):
        write_image(root / 'frames' / f'{t:05d}.png', frame)
    write_video(root / 'more' / 'deep.mp4', shapes[0][:3])
    write_video(tmp_path / 'outside.mp4', shapes[0][:3])
    return root


class Client:
    """Asks a server as a browser of its page would, unless told otherwise."""

    def __init__(self, server):
        self.server = server
        self.port = server.server_address[1]

    def ask(self, method, path, body=None, headers=None, **changes):
        """Status, headers and body; a header that is ``None`` is left out."""
        host = f'127.0.0.1:{self.port}'
        own = {'Host': host, 'Origin': f'http://{host}' if method != 'GET' else None, 'X-STT-MM': '1', **(headers or {})}
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


@pytest.fixture
def serve(propagator):
    """Starts a server of a folder; the same one is started anew after ``stop``."""
    running = []

    def start(root, max_upload=10_000_000, host='127.0.0.1'):
        studio = Studio(Library(root, max_upload), propagator)
        server = Server(studio, host)
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02))
        thread.start()

        def stop():
            if (stop, thread) in running:
                running.remove((stop, thread))
                server.shutdown()
                thread.join()
                server.server_close()
                studio.close()

        running.append((stop, thread))
        client = Client(server)
        client.stop, client.studio = stop, studio
        return client

    yield start
    for stop, _ in list(running):
        stop()
