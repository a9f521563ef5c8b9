"""Runs give what the network's own interface gives; exports hold what is shown."""

import io
import json
import zipfile

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from stt_mm.app.exports import export, export_path
from stt_mm.app.session import ConflictError, Session
from stt_mm.app.work import Worker, propagate
from stt_mm.errors import InputError
from stt_mm.utils import read_mask
from stt_mm.utils.mask_file import read_mask_file

COUNT = 12


@pytest.fixture(params=['talk.mp4', 'frames'])
def session(request, place):
    session = Session(place / request.param)
    yield session
    session.close()


@pytest.fixture
def labelled(session, shapes):
    """An object from the first frame on, another one from the fourth, and a point from the third."""
    ids = shapes[1]
    session.add('object')
    session.add('object')
    session.paint(1, 0, ids[0] == 1)
    session.paint(2, 3, ids[3] == 2)
    session.place(2, 40, 30)
    return session


def done(job, kind='run'):
    """The state at the end of a job."""
    worker = Worker()
    worker.start('video', kind, 'it', job)
    worker._thread.join()
    return worker.state()


def run(session, propagator, direction='forward', start=None):
    state = done(propagate(session, propagator, direction, start))
    assert state['state'] == 'finished', state['message']


@pytest.mark.parametrize('direction', ['forward', 'backward', 'both'])
def test_a_run_is_that_of_the_interface(labelled, propagator, shapes, direction):
    run(labelled, propagator, direction)
    ids, end = shapes[1], 4 if direction == 'backward' else COUNT
    masks = {0: np.where(ids[0] == 1, 1, 0), 3: np.where(ids[3] == 2, 2, 0)}
    expected = propagator.stream(labelled.frames.path, masks, {2: [[40, 30]]}, direction=direction, max_frames=end)
    for wanted in expected:
        frame = wanted.frame_index
        assert (labelled.mask(frame) == wanted.mask).all()
        sure = {f'object/{number}': round(value, 3) for number, value in wanted.confidence.items()}
        found = labelled.details(frame)
        assert {key: value for key, value in found['confidence'].items() if key.startswith('object')} == sure
        for number, place in found['places'].items():
            assert number == 1
            assert place == (None if wanted.points[0, 0] < 0 else pytest.approx(wanted.points[0].tolist(), abs=0.01))
    assert labelled.store.result_frames() == list(range(end))
    assert labelled.state()['waiting'] == []


def test_a_run_back_leaves_what_a_run_forward_found(labelled, propagator):
    run(labelled, propagator)
    before = [labelled.mask(frame) for frame in range(COUNT)]
    run(labelled, propagator, 'backward')
    after = [labelled.mask(frame) for frame in range(COUNT)]
    assert all((a == b).all() for a, b in zip(before[4:], after[4:], strict=True))
    assert [2 in mask for mask in before[:3]] == [False] * 3
    assert [1 in mask and 2 in mask for mask in after[:3]] == [True] * 3


def test_going_on_from_a_frame_leaves_those_before(labelled, propagator, shapes):
    run(labelled, propagator)
    before = [labelled.mask(frame) for frame in range(COUNT)]
    labelled.paint(1, 6, shapes[1][6] == 1)
    shown = labelled.mask(6)
    run(labelled, propagator, start=6)
    after = [labelled.mask(frame) for frame in range(COUNT)]
    assert all((a == b).all() for a, b in zip(before[:6], after[:6], strict=True))
    assert (after[6] == shown).all()
    assert labelled.state()['waiting'] == []
    # The same by hand: the frames that were given, the one that is right, and those after it.
    video = [shapes[0][t] for t in (0, 3, *range(6, COUNT))]
    if labelled.frames.path.is_dir():
        ids = shapes[1]
        masks = {0: np.where(ids[0] == 1, 1, 0), 1: np.where(ids[3] == 2, 2, 0), 2: shown}
        wanted = [result.mask for result in propagator.stream(video, masks)]
        assert all((a == b).all() for a, b in zip(after[6:], wanted[2:], strict=True))


def test_going_back_from_a_frame_leaves_those_after(labelled, propagator, shapes):
    run(labelled, propagator, 'both')
    before = [labelled.mask(frame) for frame in range(COUNT)]
    labelled.paint(2, 8, shapes[1][8] == 2)
    run(labelled, propagator, 'backward', 8)
    after = [labelled.mask(frame) for frame in range(COUNT)]
    assert all((a == b).all() for a, b in zip(before[9:], after[9:], strict=True))
    assert ((after[8] == 2) == (shapes[1][8] == 2)).all()


def test_thin_labels_are_taken_as_they_are_drawn(session, propagator, shapes):
    """A line of id 2 between 1 and 3 would be taken for a smoothed edge in a file of unknown origin."""
    for _ in range(3):
        session.add('object')
    rows = np.arange(64)[:, None] * np.ones((1, 96), int)
    session.paint(1, 0, rows < 30)
    session.paint(2, 0, (rows == 30) & (np.arange(96) % 16 < 9))
    session.paint(3, 0, rows > 30)
    run(session, propagator)


def test_a_run_can_be_stopped_and_what_was_found_is_kept(labelled, propagator):
    worker = Worker()
    job = propagate(labelled, propagator, 'forward', None)
    reach = worker.reach

    def stop_at_five(done, total):
        if done == 5:
            worker.stop()
        reach(done, total)

    worker.reach = stop_at_five
    worker.start('video', 'run', 'forward', job)
    worker._thread.join()
    assert worker.state()['state'] == 'stopped'
    assert labelled.store.result_frames() == list(range(5))
    assert labelled.state()['run'] == dict(
        direction='forward', start=None, first=0, last=11, reached=4, state='stopped'
    )


def test_a_fault_ends_the_job_and_is_said(labelled, propagator, monkeypatch, caplog):
    monkeypatch.setattr(labelled, 'keep', lambda *args: 1 / 0)
    state = done(propagate(labelled, propagator, 'forward', None))
    assert (state['state'], state['message']) == (
        'failed',
        'A fault of the program (ZeroDivisionError: division by zero).',
    )
    assert 'Traceback' in caplog.text
    assert labelled.state()['run']['state'] == 'failed'


def test_one_job_at_a_time():
    worker = Worker()
    held = []

    def job(worker):
        while not worker._stop.wait(0.01):
            held.append(1)
        worker.reach(1, 1)

    worker.start('talk.mp4', 'run', 'forward', job)
    with pytest.raises(ConflictError, match=r'talk\.mp4 is at work \(run: forward\)'):
        worker.start('talk.mp4', 'export', 'coco', job)
    worker.stop(10)
    assert worker.state()['state'] == 'stopped'


def test_there_must_be_something_to_follow(session, propagator):
    with pytest.raises(InputError, match='nothing to follow yet'):
        propagate(session, propagator, 'forward', None)
    with pytest.raises(InputError, match='Frame 3 shows nothing to go on from'):
        propagate(session, propagator, 'forward', 3)
    with pytest.raises(InputError, match='There is no frame 12'):
        propagate(session, propagator, 'forward', 12)
    with pytest.raises(InputError, match='direction must be one of'):
        propagate(session, propagator, 'sideways', None)
    for form in ('png', 'coco', 'points', 'video'):
        with pytest.raises(InputError, match='nothing to export yet'):
            export(session, form)


def test_exports_hold_what_is_shown(labelled, propagator):
    labelled.rename('object', 2, 'the dog')
    run(labelled, propagator)
    labelled.end('object', 1, 9)
    shown = [labelled.mask(frame) for frame in range(COUNT)]
    names = labelled.frames.names
    for form in ('png', 'coco', 'points', 'video'):
        assert done(export(labelled, form), 'export')['state'] == 'finished'
    with zipfile.ZipFile(export_path(labelled, 'png')) as archive:
        assert archive.namelist() == [f'{name}.png' for name in names]
        pictures = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert {picture.mode for picture in pictures} == {'P'}
    assert all((np.array(picture) == mask).all() for picture, mask in zip(pictures, shown, strict=True))

    path = export_path(labelled, 'coco')
    content = json.loads(path.read_text())
    assert {c['id']: c['name'] for c in content['categories']} == {1: 'Object 1', 2: 'the dog'}
    decoded = [np.zeros((64, 96), np.uint8) for _ in range(COUNT)]
    index = {image['id']: image['frame_index'] for image in content['images']}
    for found in content['annotations']:
        decoded[index[found['image_id']]][coco.decode(found['segmentation']) > 0] = found['track_id']
    assert all((a == b).all() for a, b in zip(decoded, shown, strict=True))
    assert read_mask_file(path).numbered(names).keys() == set(range(COUNT))

    rows = json.loads(export_path(labelled, 'points').read_text())
    assert [row['index'] for row in rows] == list(range(COUNT))
    assert rows[0]['points'] == [None]
    assert rows[2]['points'] == [[40, 30]]
    is_file = labelled.frames.path.is_file()
    assert rows[5]['time'] == (pytest.approx(0.5) if is_file else None)
    with av.open(str(export_path(labelled, 'video'))) as film:
        assert film.streams.video[0].codec_context.name == 'h264'
        assert len(list(film.decode(video=0))) == COUNT
    assert sorted(path.name for path in (labelled.folder / 'exports').iterdir()) == sorted(
        export_path(labelled, form).name for form in ('png', 'coco', 'points', 'video')
    )


def test_what_changes_while_an_export_is_written_is_not_mixed_in(labelled, propagator, shapes, monkeypatch):
    run(labelled, propagator)
    shown = [labelled.mask(frame) for frame in range(COUNT)]
    mask, seen = labelled.mask, []

    def changing(frame, *entries):
        seen.append(frame)
        if len(seen) == 4:
            labelled.delete('object', 1)
            labelled.paint(labelled.add('object'), 6, shapes[1][6] == 2)
            labelled.delete('point', 1)
        return mask(frame, *entries)

    for form in ('png', 'coco'):
        seen.clear()
        monkeypatch.setattr(labelled, 'mask', changing)
        assert done(export(labelled, form), 'export')['state'] == 'finished'
        monkeypatch.undo()
        for _ in range(4):
            labelled.undo()
    with zipfile.ZipFile(export_path(labelled, 'png')) as archive:
        pictures = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert all((np.array(picture) == mask).all() for picture, mask in zip(pictures, shown, strict=True))
    file = read_mask_file(export_path(labelled, 'coco'))
    found = file.numbered(labelled.frames.names)
    assert file.names == {1: 'Object 1', 2: 'Object 2'}
    assert all((found[frame].ids() == shown[frame]).all() for frame in found)


@pytest.mark.parametrize('form', ['png', 'points', 'video'])
def test_an_export_for_which_there_is_no_room_is_said(labelled, form):
    path = export_path(labelled, form)
    path.parent.mkdir()
    path.with_name(f'.{path.name}').symlink_to('/dev/full')
    state = done(export(labelled, form), 'export')
    assert state['state'] == 'failed'
    assert f'{path} cannot be written' in state['message']
    assert 'No space left on device' in state['message']
    assert list(path.parent.iterdir()) == []


def test_what_is_given_is_kept_as_masks_that_others_read(labelled, propagator, shapes):
    run(labelled, propagator)
    assert (read_mask(labelled.folder / 'given' / '00003.png') == np.where(shapes[1][3] == 2, 2, 0)).all()
