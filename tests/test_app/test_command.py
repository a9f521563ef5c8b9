"""The command: what it shows first, what it warns of, and each error in one line."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from stt_mm.app import command
from stt_mm.app.command import main, parse_args

ROOT = Path(__file__).parents[2]
SMALL = ('--config', 'eval/davis_color', '--checkpoint', 'none', '--device', 'cpu', '--port', '0')


def error_of(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main([*map(str, args), *SMALL])
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')
    return line


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended(place, number):
    process = subprocess.Popen(
        [sys.executable, 'demo/app.py', place / 'talk.mp4', *SMALL, '--protocol', 'stt_vip_s8'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        # A shell lets what it runs in the background ignore SIGINT, and with it all that is started there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    line = process.stdout.readline()
    url = re.match(rf'(http://127\.0\.0\.1:\d+/) shows {re.escape(str(place))}\. Ctrl-C ends it\.$', line)[1]
    library = urllib.request.urlopen(f'{url}api/library', timeout=20).read().decode()
    assert '"first":"talk.mp4"' in library
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors.splitlines() == ['', 'ending after the frame in work']


@pytest.mark.parametrize(('path', 'root', 'first'), [('', '', None), ('frames', '', 'frames'), ('more', 'more', None)])
def test_what_is_shown_first(place, path, root, first):
    library, video = command._library(str(place / path), 10)
    assert (library.root, video) == ((place / root).resolve(), first)


def test_a_host_for_all_is_warned_of(place, capsys, monkeypatch):
    monkeypatch.setattr(command.Server, 'serve_forever', lambda self: None)
    main([str(place), *SMALL, '--host', '0.0.0.0'])
    assert 'without a password' in capsys.readouterr().err
    main([str(place), *SMALL])
    assert capsys.readouterr().err == ''


def test_errors_are_one_line(place, capsys):
    (place / 'notes.txt').write_text('no video')
    assert 'There is no' in error_of(capsys, place / 'none')
    assert 'notes.txt is neither a video file nor a folder of images' in error_of(capsys, place / 'notes.txt')
    assert 'such_protocol' in error_of(capsys, place, '--protocol', 'such_protocol')
    assert 'cannot be listened to' in error_of(capsys, place, '--host', '203.0.113.7')


def test_the_weights_of_the_demo_are_the_default(place):
    args = parse_args([str(place)])
    assert args.checkpoint == 'stt_r18_demo'
    model = command.propagator_of(args).model
    assert model.backbone.depth == 18
    assert model.protocol['name'] == 'stt_davis_s8'
