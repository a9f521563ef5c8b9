"""What the server answers, and what it refuses, asked over real connections."""

import gzip
import http.client
import json
import os
import shutil
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from page_client import error_of
from tiny_data import write_video

from stt_mm.app import library, studio
from stt_mm.app.library import Library
from stt_mm.app.session import Session


def packed(files, folder=None, lie=0):
    """The body of an upload of (name, bytes)."""
    text = json.dumps(dict(folder=folder, files=[[name, len(data) + lie] for name, data in files])).encode()
    return struct.pack('>I', len(text)) + text + b''.join(data for _, data in files)


@pytest.fixture
def client(serve, place):
    return serve(place)


def state(client, video='talk.mp4'):
    return json.loads(client.get(f'/api/state?video={video}').body)


def edit(client, video='talk.mp4', **content):
    content.setdefault('revision', state(client, video)['revision'])
    return client.post(f'/api/edit?video={video}', content)


def shown(client, frame, video='talk.mp4'):
    reply = client.get(f'/api/shown?video={video}&frame={frame}')
    line, _, ids = reply.body.partition(b'\n')
    return json.loads(line), np.frombuffer(ids, np.uint8).reshape(64, 96)


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def wait(client, video='talk.mp4'):
    """The job when it has ended."""
    wait_for(lambda: state(client, video)['job']['state'] != 'running')
    return state(client, video)['job']


def test_the_page_and_its_parts_are_there(client):
    page = client.get('/')
    assert page.status == 200
    text = page.body.decode()
    for part in [part.split('"')[0] for part in text.split('"/static/')[1:]]:
        assert client.get(f'/static/{part}').status == 200, part
    assert "default-src 'self'" in page.headers['Content-Security-Policy']
    assert client.get('/static/../server.py').status == 404
    assert client.get('/static/%2e%2e/server.py').status == 404
    assert client.get('/nothing').status == 404


def test_a_head_is_that_of_the_answer(client):
    connection = http.client.HTTPConnection('127.0.0.1', client.port, timeout=60)
    for path in ('/', '/static/main.js', '/api/library', '/nothing'):
        found = []
        for method in ('GET', 'HEAD'):
            connection.request(method, path)
            reply = connection.getresponse()
            found.append((reply.status, reply.headers['Content-Length'], reply.headers['Content-Type']))
            assert len(reply.read()) == (0 if method == 'HEAD' else int(reply.headers['Content-Length']))
        assert found[0] == found[1]
    connection.close()


def test_the_page_loads_nothing_from_elsewhere():
    for path in (Path(library.__file__).parent / 'static').iterdir():
        text = path.read_text(encoding='utf-8').replace('http://www.w3.org/2000/svg', '')
        assert 'http:' not in text, path.name
        assert 'https:' not in text, path.name


def test_the_library_shows_what_is_in_the_folder(client):
    entries = json.loads(client.get('/api/library').body)['entries']
    assert [(e['name'], e['kind'], e['session']) for e in entries] == [
        ('frames', 'frames', False),
        ('more', 'folder', False),
        ('talk.mp4', 'video', False),
    ]
    assert json.loads(client.get('/api/library?folder=more').body)['entries'][0]['name'] == 'more/deep.mp4'
    state(client)
    entries = json.loads(client.get('/api/library').body)['entries']
    assert [entry['session'] for entry in entries] == [False, False, True]


def test_paths_out_of_the_folder_are_refused(client, place):
    (place / 'link.mp4').symlink_to(place.parent / 'outside.mp4')
    (place / 'linked').symlink_to(place.parent)
    (place / 'images').mkdir()
    (place / 'images' / '0.png').symlink_to(place / '..' / 'outside.mp4')
    (place / '.hidden.mp4').write_bytes((place / 'talk.mp4').read_bytes())
    for name in (
        '../outside.mp4',
        '/etc/passwd',
        str(place / 'talk.mp4'),
        'more/../../outside.mp4',
        'a%5C..%5Cb',
        '%00',
    ):
        for path in (
            f'/api/state?video={name}',
            f'/api/library?folder={name}',
            f'/api/download?video={name}&form=coco',
        ):
            reply = client.get(path)
            assert reply.status == 400, path
            assert 'outside' not in reply.body.decode().replace(name, '')
    for name in ('link.mp4', 'linked/outside.mp4', 'images'):
        reply = client.get(f'/api/frame?video={name}&frame=0')
        assert reply.status == 400
        assert 'leads out of' in error_of(reply)
    for name in ('.hidden.mp4', 'none.mp4', 'talk.mp4.stt_mm'):
        assert client.get(f'/api/state?video={name}').status == 404
    assert [e['name'] for e in json.loads(client.get('/api/library').body)['entries']] == [
        'frames', 'images', 'more', 'talk.mp4',
    ]  # fmt: skip
    assert client.get('/api/download?video=talk.mp4&form=../../outside').status == 400
    assert list(place.parent.glob('*.stt_mm')) == []


@pytest.mark.parametrize(
    'headers',
    [
        {'Host': 'evil.example'},
        {'Host': 'evil.example:{port}', 'Origin': 'http://evil.example:{port}'},
        {'Host': None},
        {'Host': '192.168.0.7:{port}'},
        {'Origin': 'http://evil.example'},
        {'Origin': 'null'},
        {'Origin': 'http://127.0.0.1:1'},
        {'Origin': 'https://127.0.0.1:{port}'},
        {'Sec-Fetch-Site': 'cross-site'},
        {'Sec-Fetch-Site': 'same-site'},
        {'X-STT-MM': None},
    ],
    ids=str,
)
def test_foreign_pages_are_refused(client, headers):
    headers = {name: value and value.format(port=client.port) for name, value in headers.items()}
    reply = edit(client, action='add', kind='object')
    assert reply.status == 200
    reply = client.post('/api/edit?video=talk.mp4', dict(action='add', kind='object', revision=1), headers)
    assert reply.status == 403, reply.body
    assert len(state(client)['objects']) == 1
    if 'X-STT-MM' not in headers:
        assert client.get('/api/state?video=talk.mp4', headers).status == 403


def test_a_page_may_be_opened_from_a_link_elsewhere_and_by_other_names(client):
    assert client.get('/', {'Sec-Fetch-Site': 'cross-site'}).status == 200
    for host in (f'localhost:{client.port}', f'[::1]:{client.port}', 'localhost:9000'):
        assert client.get('/api/library', {'Host': host}).status == 200


def test_others_are_let_in_by_number_alone(serve, place):
    client = serve(place, host='0.0.0.0')
    assert not client.server.is_local
    assert client.get('/api/library', {'Host': '192.168.0.7:80'}).status == 200
    assert client.get('/api/library', {'Host': 'evil.example'}).status == 403


def test_an_upload_is_taken_in(client, place):
    data = (place / 'talk.mp4').read_bytes()
    reply = client.ask('PUT', '/api/upload', packed([('new one.mp4', data)]))
    assert json.loads(reply.body) == dict(video='new one.mp4')
    assert (place / 'new one.mp4').read_bytes() == data
    reply = client.ask('PUT', '/api/upload', packed([('talk.mp4', data)]))
    assert json.loads(reply.body) == dict(video='talk (2).mp4')
    # Neither is what is left of a video that is gone taken for its own, nor a link to nowhere replaced.
    (place / 'gone.mp4.stt_mm').mkdir()
    (place / 'link.mp4').symlink_to('nowhere')
    for name in ('gone', 'link'):
        reply = client.ask('PUT', '/api/upload', packed([(f'{name}.mp4', data)]))
        assert json.loads(reply.body) == dict(video=f'{name} (2).mp4')
    images = [(path.name, path.read_bytes()) for path in sorted((place / 'frames').iterdir())]
    reply = client.ask('PUT', '/api/upload', packed(images, 'frames'))
    assert json.loads(reply.body) == dict(video='frames (2)')
    assert state(client, 'frames%20(2)')['frames'] == 12


@pytest.mark.parametrize(
    ('body', 'said'),
    [
        (packed([('../a.mp4', b'x')]), 'name'),
        (packed([('/a.mp4', b'x')]), 'name'),
        (packed([('a/b.mp4', b'x')]), 'Rename it'),
        (packed([('.a.mp4', b'x')]), 'Rename it'),
        (packed([('a.png', b'x')], '../up'), 'name'),
        (packed([('a.png', b'x')], 'x.stt_mm'), 'Rename it'),
        (packed([('a.exe', b'x')]), 'not a video of a known kind'),
        (packed([('a.mp4', b'x')], 'folder'), 'not an image of a known kind'),
        (packed([('a.mp4', b'x'), ('b.mp4', b'y')]), 'One video at a time'),
        (packed([('a.png', b'x'), ('a.png', b'y')], 'f'), 'one name'),
        (packed([('a.mp4', b'not a video')]), 'Video a.mp4 cannot be opened'),
        (packed([('a.png', b'no image')], 'f'), 'a.png'),
        (packed([('a.mp4', b'xx')], lie=5), 'make up the rest'),
        (packed([('a.mp4', b'xxxxxxx')], lie=-9), 'make up the rest'),
        (packed([]), 'make up the rest'),
        (b'', 'begins with the list'),
        (b'\xff\xff\xff\xff{}', 'begins with the list'),
        (struct.pack('>I', 2) + b'[]', 'another text'),
        (struct.pack('>I', 7) + b'{"a":1}', 'another text'),
        (packed([('a.png', b'x')], 5), 'make up the rest'),
        (packed([('a.png', b'x')], ['a']), 'make up the rest'),
        (packed([('a' * 237 + '.mp4', b'x')]), 'at most 240 bytes'),
    ],
)
def test_bad_uploads_are_refused_and_leave_nothing(client, place, body, said):
    before = sorted(place.rglob('*'))
    reply = client.ask('PUT', '/api/upload', body)
    assert reply.status == 400, reply.body
    assert said in error_of(reply)
    assert str(place / '.upload') not in error_of(reply)
    assert sorted(place.rglob('*')) == before


def test_a_huge_upload_is_refused_before_it_is_read(serve, place):
    client = serve(place, max_upload=1000)
    reply = client.ask('PUT', '/api/upload', None, {'Content-Length': str(10**12)})
    assert reply.status == 413
    assert '1000000.0 MB, 0.0 MB are allowed' in error_of(reply)
    reply = client.ask('PUT', '/api/upload', packed([('a.mp4', bytes(5_000_000))]))
    assert reply.status == 413
    reply = client.ask('PUT', '/api/area?video=talk.mp4', None, {'Content-Length': str(10**9)})
    assert reply.status == 413


def test_a_full_disk_is_said_in_advance(client, monkeypatch):
    monkeypatch.setattr(library.shutil, 'disk_usage', lambda path: type('', (), dict(free=10**6)))
    reply = client.ask('PUT', '/api/upload', packed([('a.mp4', b'x')]))
    assert reply.status == 500
    assert 'has 1.0 MB free' in error_of(reply)


def test_an_upload_that_breaks_off_leaves_nothing(client, place):
    before = sorted(os.listdir(place))
    body = packed([('a.mp4', bytes(100_000))])
    head = f'PUT /api/upload HTTP/1.1\r\nHost: localhost\r\nX-STT-MM: 1\r\nContent-Length: {len(body)}\r\n\r\n'
    with socket.create_connection(('127.0.0.1', client.port)) as connection:
        connection.sendall(head.encode() + body[:50_000])
        wait_for(lambda: sorted(os.listdir(place)) != before)
    wait_for(lambda: sorted(os.listdir(place)) == before)
    assert client.get('/api/library').status == 200


def test_a_length_must_be_said(client):
    reply = client.ask('POST', '/api/edit?video=talk.mp4', None, {'Transfer-Encoding': 'chunked'})
    assert reply.status == 411
    assert client.ask('POST', '/api/edit?video=talk.mp4').status == 411
    # The answer is heard by one who is still sending.
    reply = client.ask(
        'PUT', '/api/upload', b'400000\r\n' + bytes(5_000_000), {'Transfer-Encoding': 'chunked', 'Content-Length': None}
    )
    assert reply.status == 411


@pytest.mark.parametrize('length', ['many', '-1', '+5', '1e3', '5, 5', '٣', '', '9' * 16, '9' * 5000])
def test_what_follows_a_length_that_is_no_number_is_not_taken_for_a_request(client, length):
    second = f'GET /api/library HTTP/1.1\r\nHost: localhost:{client.port}\r\n\r\n'
    first = f'POST /api/edit?video=talk.mp4 HTTP/1.1\r\nHost: localhost:{client.port}\r\nX-STT-MM: 1\r\n'
    with socket.create_connection(('127.0.0.1', client.port), timeout=20) as connection:
        connection.sendall(f'{first}Content-Length: {length}\r\n\r\n{second}'.encode())
        connection.shutdown(socket.SHUT_WR)
        answers = b''.join(iter(lambda: connection.recv(65536), b''))
    assert answers.startswith(b'HTTP/1.1 411 ')
    assert answers.count(b'HTTP/1.1 ') == 1
    assert b'Content-Length' in answers.partition(b'\r\n\r\n')[2]


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'{', 'no JSON'),
        (b'[' * 100_000, 'no JSON'),
        (b'[]', 'no JSON object'),
        (b'\xff', 'no JSON'),
        (dict(action='explode'), 'An edit is one of'),
        (dict(), 'An edit is one of'),
        (dict(action=['add']), 'An edit is one of'),
        (dict(action='add', kind='planet'), 'needs a kind'),
        (dict(action='add', kind='point'), 'without a place'),
        (dict(action='rename', kind='object', number=1, name=7), 'needs a name'),
        (dict(action='delete', kind='object', number='1'), 'needs a number'),
        (dict(action='delete', kind='object', number=True), 'needs a number'),
        (dict(action='delete', kind='object', number=9), 'There is no object 9'),
        (dict(action='point', frame=99, x=1, y=1), 'There is no frame 99'),
        (dict(action='point', frame=0, x=-1, y=1), 'outside of the frame'),
        (dict(action='point', frame=0, x='1', y=1), 'needs a x'),
        (dict(action='point', frame=0, x=10**400, y=1), 'outside of the frame'),
        (dict(action='point', frame=0, x=float('nan'), y=1), 'outside of the frame'),
        (dict(action='undo'), 'nothing to undo'),
    ],
)
def test_bad_edits_are_refused(client, content, said):
    if isinstance(content, bytes):
        reply = client.ask('POST', '/api/edit?video=talk.mp4', content)
    else:
        reply = edit(client, **content)
    assert reply.status == 400
    assert said in error_of(reply)
    assert state(client)['revision'] == 0


@pytest.mark.parametrize('value', [None, 1, ['png'], 'exe'])
def test_bad_runs_and_exports_are_refused(client, value):
    assert client.post('/api/run?video=talk.mp4', dict(direction=value)).status == 400
    assert client.post('/api/run?video=talk.mp4', dict(direction='forward', start=value or [])).status == 400
    assert client.post('/api/export?video=talk.mp4', dict(form=value)).status == 400
    assert state(client)['job'] is None


def test_bad_areas_are_refused(client, shapes):
    edit(client, action='add', kind='object')
    area = shapes[1][0] == 1
    assert client.paint('talk.mp4', 1, 0, area[:-1], 1).status == 400
    assert client.paint('talk.mp4', 2, 0, area, 1).status == 400
    assert client.paint('talk.mp4', 1, 12, area, 1).status == 400
    assert client.paint('talk.mp4', 1, -1, area, 1).status == 400
    assert client.paint('none.mp4', 1, 0, area, 1).status == 404
    assert client.get('/api/frame?video=talk.mp4&frame=12').status == 400
    assert client.get('/api/frame?video=talk.mp4&frame=1e3').status == 400
    assert client.get('/api/shown?video=talk.mp4').status == 400


def test_from_painting_to_a_file(client, shapes):
    edit(client, action='add', kind='object')
    area = shapes[1][0] == 1
    assert client.paint('talk.mp4', 1, 0, area, 1).status == 200
    assert (shown(client, 0)[1] == area).all()
    edit(client, action='point', frame=2, x=10.5, y=20)
    assert shown(client, 2)[0]['places'] == {'1': [10.5, 20]}
    assert client.post('/api/run?video=talk.mp4', dict(direction='forward', start=None)).status == 200
    assert wait(client)['state'] == 'finished'
    assert state(client)['results'] == 12
    assert json.loads(client.get('/api/confidence?video=talk.mp4').body)['columns'] == 12
    assert client.get('/api/download?video=talk.mp4&form=coco').status == 404
    client.post('/api/export?video=talk.mp4', dict(form='coco'))
    assert wait(client)['state'] == 'finished'
    reply = client.get('/api/download?video=talk.mp4&form=coco')
    assert 'talk_masks.json' in reply.headers['Content-Disposition']
    assert len(json.loads(reply.body)['images']) == 12
    assert client.get('/api/frame?video=talk.mp4&frame=3&key=1').headers['Cache-Control'] == 'private, max-age=3600'
    assert edit(client, action='clear').status == 200
    assert state(client)['results'] == 0
    assert (shown(client, 0)[1] == area).all()


def test_what_is_sent_can_be_packed(client):
    reply = client.get('/api/shown?video=talk.mp4&frame=0', {'Accept-Encoding': 'gzip, br'})
    assert reply.headers['Content-Encoding'] == 'gzip'
    assert len(reply.body) < 300
    assert len(gzip.decompress(reply.body).partition(b'\n')[2]) == 64 * 96


def test_the_session_is_there_after_a_restart(serve, place, shapes):
    client = serve(place)
    edit(client, action='add', kind='object')
    client.paint('talk.mp4', 1, 4, shapes[1][4] == 1, 1)
    before = state(client)
    client.stop()
    again = serve(place)
    assert state(again) == before
    assert (shown(again, 4)[1] == (shapes[1][4] == 1)).all()


def test_a_run_goes_on_without_a_page_and_its_end_is_kept(serve, place, shapes, monkeypatch):
    """The page is closed in the middle; the program is ended in the middle of another run."""
    client = serve(place)
    edit(client, action='add', kind='object')
    client.paint('talk.mp4', 1, 0, shapes[1][0] == 1, 1)
    session = client.studio.session('talk.mp4')
    go_on, keep = threading.Semaphore(5), session.keep
    monkeypatch.setattr(session, 'keep', lambda *args: (go_on.acquire(timeout=20), keep(*args)))
    client.post('/api/run?video=talk.mp4', dict(direction='forward', start=None))
    wait_for(lambda: state(client)['results'] >= 5)
    reply = client.post('/api/run?video=talk.mp4', dict(direction='forward', start=None))
    assert reply.status == 409
    assert 'is at work' in error_of(reply)
    client.studio.worker.stop()
    go_on.release(20)
    client.stop()
    again = serve(place)
    assert state(again)['run']['state'] == 'stopped'
    assert 5 <= state(again)['results'] < 12
    again.post('/api/run?video=talk.mp4', dict(direction='forward', start=None))
    assert wait(again)['state'] == 'finished'
    assert state(again)['results'] == 12


def test_two_pages_do_not_overwrite_each_other(client, shapes):
    edit(client, action='add', kind='object')
    seen = state(client)['revision']
    assert client.paint('talk.mp4', 1, 0, shapes[1][0] == 1, seen).status == 200
    reply = client.paint('talk.mp4', 1, 0, shapes[1][0] == 2, seen)
    assert reply.status == 409
    assert 'Another page has changed' in error_of(reply)
    assert (shown(client, 0)[1] == (shapes[1][0] == 1)).all()


def test_many_requests_at_once_leave_a_whole_session(client, shapes):
    edit(client, action='add', kind='object')
    answers = []

    def work(number):
        for frame in range(12):
            answers.append(client.paint('talk.mp4', 1, frame, shapes[1][number] == 1, state(client)['revision']).status)
            answers.append(client.get(f'/api/frame?video=talk.mp4&frame={frame}').status)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 409}
    session = client.studio.session('talk.mp4')
    assert session.store.entries() == session.entries
    assert session.revision == 1 + sum(answer == 200 for answer in answers) - 48


def test_a_fault_of_the_code_is_said_and_the_server_goes_on(client, monkeypatch, caplog):
    monkeypatch.setattr(Library, 'entries', lambda *args: 1 / 0)
    reply = client.get('/api/library')
    assert reply.status == 500
    assert error_of(reply) == 'A fault of the program (ZeroDivisionError: division by zero).'
    assert 'Traceback' in caplog.text
    assert client.get('/').status == 200


def test_a_session_that_is_open_elsewhere_is_said(client, serve, place):
    state(client)
    reply = serve(place).get('/api/state?video=talk.mp4')
    assert reply.status == 400
    assert 'open in another program' in error_of(reply)


def painted(client, shapes, video='talk.mp4'):
    """A session with two objects."""
    edit(client, video, action='add', kind='object')
    edit(client, video, action='add', kind='object')
    assert client.paint(video, 1, 0, shapes[1][0] == 1, 2).status == 200
    assert client.paint(video, 2, 5, shapes[1][5] == 2, 3).status == 200
    return client.studio.session(video)


def held(session, monkeypatch):
    """Results are not kept before this is set."""
    go_on, keep = threading.Event(), session.keep
    monkeypatch.setattr(session, 'keep', lambda *args: (go_on.wait(20), keep(*args)))
    return go_on


def test_a_new_object_does_not_get_the_results_of_one_that_was_deleted_in_mid_run(client, shapes, monkeypatch):
    session = painted(client, shapes)
    edit(client, action='point', frame=0, x=10, y=10)
    go_on = held(session, monkeypatch)
    client.post('/api/run?video=talk.mp4', dict(direction='forward', start=None))
    edit(client, action='delete', kind='object', number=2)
    edit(client, action='add', kind='object')
    edit(client, action='delete', kind='point', number=1)
    edit(client, action='point', frame=0, x=20, y=20)
    reply = edit(client, action='clear')
    assert reply.status == 409
    assert 'are at work' in error_of(reply)
    go_on.set()
    assert wait(client)['state'] == 'finished'
    found = state(client)
    assert [each['id'] for each in found['objects']] == [1, 3]
    assert [each['id'] for each in found['points']] == [2]
    details, ids = shown(client, 8)
    assert set(np.unique(ids)) == {0, 1}
    assert list(details['confidence']) == ['object/1']
    # What is not found by then is new, and may have a number that is free.
    edit(client, action='clear')
    edit(client, action='add', kind='object')
    assert [each['id'] for each in state(client)['objects']] == [1, 2, 3]


def test_a_session_whose_folder_is_removed_begins_anew(client, place, shapes, monkeypatch):
    """SQLite writes on to a file that was removed, where nobody finds it."""
    session = painted(client, shapes)
    shutil.rmtree(session.folder)
    assert state(client)['objects'] == []
    edit(client, action='add', kind='object')
    client.stop()
    assert (session.folder / 'session.sqlite').is_file()


def test_a_video_that_is_replaced_is_noticed(client, place, shapes, monkeypatch):
    session = painted(client, shapes)
    go_on = held(session, monkeypatch)
    client.post('/api/run?video=talk.mp4', dict(direction='forward', start=None))
    write_video(place / 'talk.mp4', shapes[0][:5])
    reply = client.get('/api/state?video=talk.mp4')
    assert reply.status == 409
    assert 'was replaced or removed while it is at work' in error_of(reply)
    go_on.set()
    wait_for(lambda: client.studio.worker.state()['state'] != 'running')
    reply = client.get('/api/state?video=talk.mp4')
    assert reply.status == 400
    assert 'has 5 of 96x64' in error_of(reply)
    write_video(place / 'talk.mp4', shapes[0])
    assert state(client)['revision'] == 4


@pytest.mark.parametrize(
    'name', ['', 'session.sqlite', 'exports', 'given', 'exports/talk_masks.zip', 'given/00000.png']
)
def test_a_session_that_leads_out_of_the_folder_is_refused(client, place, name):
    outside, folder = place.parent / 'elsewhere', place / 'talk.mp4.stt_mm'
    outside.mkdir()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(outside)
    for path in ('state?video=talk.mp4', 'download?video=talk.mp4&form=png'):
        reply = client.get(f'/api/{path}')
        assert reply.status == 400
        assert f'talk.mp4.stt_mm/{name}'.rstrip('/') + ' leads out of' in error_of(reply)
    assert list(outside.iterdir()) == []


def test_a_video_that_takes_long_to_open_holds_up_no_other(client, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(path):
        if path.name == 'deep.mp4':
            begun.set()
            assert go_on.wait(60)
        return Session(path)

    monkeypatch.setattr(studio, 'Session', slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(state(client, 'more/deep.mp4'))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    assert state(client)['frames'] == 12
    assert found == []
    go_on.set()
    for thread in threads:
        thread.join()
    assert [each['frames'] for each in found] == [3, 3]
