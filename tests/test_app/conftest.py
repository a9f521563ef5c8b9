"""A small video, the network of colours, and a server of the page."""

import threading

import pytest
from page_client import Client
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
