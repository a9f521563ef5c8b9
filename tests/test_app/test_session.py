"""A session is on the disk after each change, and comes back as it was."""

import sqlite3

import numpy as np
import pytest
from tiny_data import write_video

from stt_mm.apis import FrameResult
from stt_mm.app.session import Session
from stt_mm.errors import FileError, InputError


@pytest.fixture
def video(place):
    return place / 'talk.mp4'


@pytest.fixture
def session(video):
    session = Session(video)
    yield session
    session.close()


def disc(shapes, number, frame):
    return shapes[1][frame] == number


def result(frame, mask, confidence, points=None, sure=None):
    return FrameResult(frame, f'{frame:05d}', np.zeros((64, 96, 3), np.uint8), mask, points, None, confidence, sure)


RUN = dict(direction='forward', start=None, first=0, last=11, reached=0, state='running')


def test_it_comes_back_without_being_closed(video, session, shapes):
    """As after a crash: what was changed is read from the disk."""
    session.add('object')
    session.rename('object', 1, 'ball')
    session.paint(1, 3, disc(shapes, 1, 3))
    session.place(2, 10, 20)
    session.keep(4, result(4, shapes[1][4], {1: 0.5}), (), RUN)
    copy = video.with_name('copy.mp4')
    copy.write_bytes(video.read_bytes())
    folder = copy.with_name('copy.mp4.stt_mm')
    folder.mkdir()
    (folder / 'session.sqlite').write_bytes((session.folder / 'session.sqlite').read_bytes())
    again = Session(copy)
    mine, other = (dict(one.state(), key='') for one in (session, again))
    assert mine == other
    assert mine['objects'][0] == dict(id=1, name='ball', color='#800000', given=[3], ends=[])
    assert (again.mask(3) == disc(shapes, 1, 3)).all()
    assert (again.mask(4) == disc(shapes, 1, 4)).all()
    assert again.places(2) == {1: [10, 20]}
    again.close()


def test_undo_goes_back_to_the_beginning_and_redo_to_the_end(session, shapes):
    session.add('object')
    session.paint(1, 0, disc(shapes, 1, 0))
    session.paint(1, 0, disc(shapes, 2, 0))
    session.end('object', 1, 5)
    session.place(0, 1, 2)
    session.delete('object', 1)
    states = [dict(session.entries)]
    while session.state()['undo']:
        session.undo()
        states.append(dict(session.entries))
    assert len(states) == 7
    assert states[-1] == {}
    for state in states[-2::-1]:
        session.redo()
        assert session.entries == state
    with pytest.raises(InputError, match='nothing to do again'):
        session.redo()
    assert session.store.entries() == session.entries


def test_a_change_after_undo_forgets_what_was_undone(session):
    session.add('object')
    session.add('object')
    session.undo()
    session.place(0, 1, 1)
    assert (session.state()['undo'], session.state()['redo']) == (True, False)
    session.undo()
    session.undo()
    assert session.entries == {}


def test_what_a_run_does_not_follow_stays(session, shapes):
    session.add('object')
    session.add('object')
    session.paint(1, 0, disc(shapes, 1, 0))
    session.place(0, 3, 3)
    ids = shapes[1][5]
    session.keep(5, result(5, np.where(ids == 1, 1, 0).astype(np.uint8), {1: 0.9}), (), RUN)
    second = result(5, np.where(ids == 2, 2, 0).astype(np.uint8), {2: 0.4}, np.float32([[7, 8]]), np.float32([0.3]))
    session.keep(5, second, (1,), RUN)
    assert (session.mask(5) == ids).all()
    assert session.details(5)['confidence'] == {'object/1': 0.9, 'object/2': 0.4, 'point/1': 0.3}
    session.keep(5, result(5, np.zeros_like(ids), {1: 0.1}), (), RUN)
    assert (session.mask(5) == np.where(ids == 2, 2, 0)).all()
    assert session.places(5) == {1: [7, 8]}
    session.delete('object', 2)
    assert not session.mask(5).any()


def test_a_number_of_what_was_found_is_not_given_again(session, shapes):
    session.add('object')
    session.keep(5, result(5, shapes[1][5], {1: 1.0}), (), RUN)
    session.delete('object', 1)
    assert session.add('object') == 2


def test_confidence_is_the_least_of_each_column(session, shapes):
    session.add('object')
    session.paint(1, 0, disc(shapes, 1, 0))
    values = [1, 0.9, 0.3, 0.35, 0.8, 0.7, 0.6, 0.5, 0.2, 0.9, 0.9, 0.9]
    for frame, value in enumerate(values):
        session.keep(frame, result(frame, shapes[1][frame], {1: value}), (), RUN)
    found = session.confidence(4)
    assert found == dict(
        columns=4, rows={'object/1': [0.3, 0.35, 0.2, 0.9]}, doubtful={'object/1': [[8, 0.2], [2, 0.3]]}
    )
    assert session.confidence(600)['rows']['object/1'] == values


def test_what_waits_for_a_run(session, shapes):
    session.add('object')
    session.paint(1, 3, disc(shapes, 1, 3))
    session.paint(1, 7, disc(shapes, 1, 7))
    revision = session.revision
    session.paint(1, 4, disc(shapes, 1, 4))
    assert session.state()['waiting'] == [3, 4, 7]
    session.end_run(revision, RUN | dict(first=0, reached=5, state='stopped'))
    assert session.state()['waiting'] == [4, 7]
    session.clear_results()
    assert session.state()['waiting'] == [3, 4, 7]


def test_points_lie_in_the_frame(session):
    for x, y in ((-1, 0), (96, 0), (0, 63.5), (float('nan'), 1)):
        with pytest.raises(InputError, match='lies outside of the frame'):
            session.place(0, x, y)
    with pytest.raises(InputError, match='There is no frame 12'):
        session.place(12, 0, 0)


def test_one_program_at_a_time(video, session):
    with pytest.raises(InputError, match='open in another program'):
        Session(video)


def test_a_session_of_another_video_is_not_mixed_up(video, session, shapes):
    session.close()
    write_video(video, shapes[0][:7])
    with pytest.raises(InputError, match=r'a video of 12 frames of 96x64 .* has 7 of 96x64'):
        Session(video)


def test_a_damaged_session_is_named(video, session):
    session.close()
    (session.folder / 'session.sqlite').write_bytes(b'no database' * 100)
    with pytest.raises(InputError, match=r'session\.sqlite is no session, or it is damaged'):
        Session(video)


def test_a_session_that_is_damaged_further_on_is_named_and_not_kept_open(video, session, shapes):
    session.add('object')
    session.paint(1, 0, disc(shapes, 1, 0))
    session.close()
    path = session.folder / 'session.sqlite'
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b'\xff' * (len(whole) - 4096))
    with pytest.raises(InputError, match=r'session\.sqlite is no session, or it is damaged .*malformed'):
        Session(video)
    path.write_bytes(whole)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET value = '{' WHERE kind = 'area'")
    db.close()
    with pytest.raises(InputError, match=r'session\.sqlite is no session, or it is damaged \(Expecting'):
        Session(video)
    path.write_bytes(whole)
    again = Session(video)
    assert (again.mask(0) == disc(shapes, 1, 0)).all()
    again.close()


def test_a_damaged_result_is_not_shown_as_nothing(session, shapes):
    session.add('object')
    session.paint(1, 0, disc(shapes, 1, 0))
    session.store.add_result(3, b'no picture', {}, {('object', 1): 0.9})
    with pytest.raises(InputError, match='is damaged. Clear the results'):
        session.mask(3)


def test_a_session_of_a_later_version_is_refused(video, session):
    session.store.set_facts(version=99)
    session.close()
    with pytest.raises(InputError, match='of version 99'):
        Session(video)


def test_what_cannot_be_written_is_an_error_and_changes_nothing(session):
    """As on a full disk."""
    session.add('object')
    pages = session.store._db.execute('PRAGMA page_count').fetchone()[0]
    session.store._db.execute(f'PRAGMA max_page_count = {pages + 2}')
    noise, painted = np.random.default_rng(0).random((64, 96)) > 0.5, []

    def fill():
        for frame in range(12):
            session.paint(1, frame, noise)
            painted.append(frame)

    with pytest.raises(FileError, match=r'session\.sqlite cannot be written: .*full'):
        fill()
    assert 0 < len(painted) < 12
    assert session.state()['objects'][0]['given'] == painted
    assert session.store.entries() == session.entries
    session.store._db.execute('PRAGMA max_page_count = 100000')
    session.paint(1, 11, noise)
    assert session.mask(11).sum() == noise.sum()


def test_a_folder_that_cannot_be_written_is_named(video, monkeypatch):
    monkeypatch.setattr(sqlite3, 'connect', _refused)
    with pytest.raises(FileError, match=r'talk\.mp4\.stt_mm.session\.sqlite cannot be written: unable to open'):
        Session(video)


def _refused(*args, **options):
    raise sqlite3.OperationalError('unable to open database file')
