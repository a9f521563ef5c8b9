"""The command that starts the page."""

import argparse
import logging
import signal
import sys
import webbrowser
from pathlib import Path

from stt_mm.apis.arguments import add_network_arguments, propagator_of
from stt_mm.app.library import Library, kind_of
from stt_mm.app.server import Server
from stt_mm.app.studio import Studio
from stt_mm.engine.cli import between, one_line_errors, tool_parser
from stt_mm.errors import FileError, MissingInputError

DESCRIPTION = 'Paint objects and points on a page in the browser, follow them through your video, correct and export.'
EPILOG = """examples:
  stt-mm app talk.mp4
  stt-mm app videos/                 (choose a video there, or upload one)
  stt-mm app frames/ --device cuda:1 --port 9000

Everything is saved beside the video, in <video>.stt_mm/. Ctrl-C or SIGTERM ends the program after the current frame."""
PORT = 8765


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = tool_parser(DESCRIPTION, EPILOG)
    parser.add_argument(
        'path',
        nargs='?',
        default='.',
        help='video file, folder of frames, or folder of videos; the page sees this folder, or the one around the '
        'file or the frames, and nothing else (default: the current folder)',
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; any but the default lets others in')
    parser.add_argument('--port', type=between(0, 65535), default=PORT, help='port to listen on; 0 takes any free one')
    parser.add_argument('--open', action='store_true', help='open the page in the browser')
    parser.add_argument(
        '--max-upload', type=between(0.001, kind=float), default=4.0, metavar='GB', help='largest upload, in gigabytes'
    )
    add_network_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    args = parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    with one_line_errors():
        library, first = _library(args.path, round(args.max_upload * 1e9))
        studio = Studio(library, propagator_of(args), first)
        try:
            server = Server(studio, args.host, args.port)
        except OSError as error:
            raise FileError(
                f'{args.host}, port {args.port}, cannot be listened to ({error.strerror or error}). Choose another '
                '--port, or 0 for any that is free.'
            ) from error
        with server:
            if not server.is_local:
                sys.stderr.write(
                    f'warning: whoever reaches {args.host} can see and change what lies in {library.root}, without a '
                    'password. To use it from afar, forward the port instead: '
                    f'ssh -L {server.server_address[1]}:localhost:{server.server_address[1]} <this machine>\n'
                )
            sys.stdout.write(f'{server.url} shows {library.root}. Ctrl-C ends it.\n')
            sys.stdout.flush()
            if args.open:
                webbrowser.open(server.url)
            # As Ctrl-C does, so does whoever ends a service.
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                sys.stderr.write('\nending after the frame in work\n')
            finally:
                studio.close()
                signal.signal(signal.SIGTERM, before)


def _library(path: str, max_upload: int) -> tuple[Library, str | None]:
    """The library, and the name of the video to begin with."""
    place = Path(path)
    if not place.exists():
        raise MissingInputError(
            f'There is no {path}. Expected a video file, a folder of frames, or a folder of videos.'
        )
    place = place.resolve()
    if kind_of(place) == 'folder':
        return Library(place, max_upload), None
    library = Library(place.parent, max_upload)
    library.video(place.name)
    return library, place.name
