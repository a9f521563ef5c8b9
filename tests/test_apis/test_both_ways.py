"""Labels that go backward, and those of both ways merged; on raw colours, which need no weights."""

import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from tiny_data import write_image, write_video

from stt_mm.apis import ResultFiles, VideoPropagator
from stt_mm.apis.both_ways import Life, from_the_end, meeting, plan_of
from stt_mm.apis.labels import Given
from stt_mm.models.frame_labels import Edits
from stt_mm.utils.point_file import read_point_file

SIZE = (64, 96)
COLORS = np.array([[60, 60, 60], [230, 40, 40], [40, 60, 230]], np.uint8)


@pytest.fixture(scope='module')
def propagator():
    return VideoPropagator(
        'eval/davis_color',
        device='cpu',
        options={'model.propagator.protocol.short_side': 128, 'model.propagator.protocol.radius': 5},
    )


def squares(num_frames=9):
    """A red square that moves right and a blue one that moves left, and their ids."""
    masks = np.zeros((num_frames, *SIZE), np.uint8)
    for t in range(num_frames):
        masks[t, 8:28, 8 + 2 * t : 28 + 2 * t] = 1
        masks[t, 36:56, 70 - 2 * t : 90 - 2 * t] = 2
    return COLORS[masks], masks


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def run(propagator, frames, *args, **options):
    return list(propagator.stream(frames, *args, **options))


def same(found, expected):
    return all(
        np.array_equal(a.mask, b.mask)
        and a.confidence == b.confidence
        and (
            a.points is None or np.allclose(a.points, b.points) and np.allclose(a.point_confidence, b.point_confidence)
        )
        for a, b in zip(found, expected, strict=True)
    )


def test_backward_is_forward_through_the_turned_video(propagator):
    frames, masks = squares()
    points = np.array([[70.0, 40.0], [30.0, 20.0]])
    ids = np.where(masks[5] == 1, masks[5], 0), np.where(masks[2] == 2, masks[2], 0)
    found = run(propagator, frames, {5: ids[0], 2: ids[1]}, {5: points}, direction='backward')
    turned = run(propagator, frames[::-1].copy(), {3: ids[0], 6: ids[1]}, {3: points})[::-1]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found, turned, strict=True))
    assert all(np.allclose(a.points, b.points) for a, b in zip(found[:6], turned[:6], strict=True))
    assert [result.frame_index for result in found] == list(range(9))
    assert all(np.array_equal(result.frame, frame) for result, frame in zip(found, frames, strict=True))
    assert not any((result.mask == 1).any() for result in found[6:])
    assert all((result.points == -1).all() for result in found[6:])


def test_a_label_in_the_middle_goes_to_both_sides(propagator):
    frames, masks = squares()
    one_way, both = (run(propagator, frames, {4: masks[4]}, direction=way) for way in ('forward', 'both'))
    assert [int((result.mask > 0).sum()) for result in one_way[:4]] == [0] * 4
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(one_way[4:], both[4:], strict=True))
    for result, mask in zip(both, masks, strict=True):
        assert min(overlap(result.mask == k, mask == k) for k in (1, 2)) > 0.7
    assert both[4].confidence == {1: 1.0, 2: 1.0}
    assert all(0 < value <= 1 for result in both for value in result.confidence.values())


def test_a_correction_reaches_earlier_frames_where_labels_go_both_ways(propagator):
    frames, masks = squares()
    wrong = masks[0].copy()
    wrong[36:56, 80:90] = 0  # half of the blue square is forgotten
    truth = masks == 2
    given = {0: wrong, 6: np.where(truth[6], masks[6], 0)}
    plain = run(propagator, frames, {0: wrong})
    one_way, both = (run(propagator, frames, given, direction=way) for way in ('forward', 'both'))
    for time in range(6):
        assert np.array_equal(plain[time].mask, one_way[time].mask)
    for time in range(6, 9):
        assert overlap(one_way[time].mask == 2, truth[time]) > overlap(plain[time].mask == 2, truth[time]) + 0.2
    assert np.array_equal(both[0].mask, wrong)
    changed = [time for time in range(1, 6) if not np.array_equal(plain[time].mask == 2, both[time].mask == 2)]
    assert changed
    assert changed == list(range(changed[0], 6))
    assert all((both[t].mask == 2).sum() > (plain[t].mask == 2).sum() + 50 for t in changed)


def test_what_is_dropped_ends_in_both_ways(propagator):
    frames, masks = squares()
    given = {2: masks[2], 7: np.where(masks[7] == 2, masks[7], 0)}
    found = run(propagator, frames, given, edits={5: Edits(delete=[2])}, direction='both')
    # It is away from where it was dropped to where it is given again.
    assert [int((result.mask == 2).any()) for result in found] == [1, 1, 1, 1, 1, 0, 0, 1, 1]
    assert [2 in result.confidence for result in found] == [True] * 5 + [False] * 2 + [True] * 2
    back = run(propagator, frames, given, edits={5: Edits(delete=[2])}, direction='backward')
    assert [int((result.mask == 2).any()) for result in back] == [1, 1, 1, 0, 0, 0, 0, 1, 0]
    found = run(propagator, frames, {2: masks[2]}, edits={5: Edits(delete=[2])}, direction='both')
    assert [int((result.mask == 2).any()) for result in found] == [1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert all((result.mask == 1).any() for result in found)
    assert 2 not in found[6].confidence


@pytest.mark.parametrize('direction', ['forward', 'backward', 'both'])
def test_points_that_something_hides_are_said_and_written(propagator, tmp_path, direction):
    frames, masks = squares()
    frames = frames.copy()
    frames[5:7, 30:] = [20, 200, 90]  # the blue square is covered
    points = {2: np.array([[76.0, 46.0]]), 3: np.array([[24.0, 18.0]])}
    options = {'model.propagator.protocol': dict(name='stt_davis_s8', short_side=128, radius=5, color='rgb')}
    silent = propagator.stream(frames, None, points, direction=direction)
    assert all(result.occluded is None for result in silent)
    options['model.propagator.protocol']['occlusion'] = 30.0
    asked = VideoPropagator('eval/davis_color', device='cpu', options=options)
    with ResultFiles(None, tmp_path / 'points.npz') as files:
        found = run(asked, frames, None, points, direction=direction)
        for result in found:
            files.add(result)
    counts = [len(result.points) for result in found]
    assert [len(result.occluded) for result in found] == counts
    hidden = [result.occluded.tolist() for result in found]
    if direction != 'backward':
        assert [row[0] for row in hidden[2:]] == [False] * 3 + [True] * 2 + [False] * 2
        assert not any(row[1] for row in hidden[3:])
    else:
        assert all(all(row) for row in hidden[4:])
        assert not any(row[0] for row in hidden[:3])
    points, occluded = read_point_file(tmp_path / 'points.npz', 9)
    for time, row in enumerate(hidden):
        assert occluded[:, time].tolist() == [*row, *[True] * (2 - len(row))]


def test_what_is_lost_at_once_has_no_confidence_whichever_way(propagator):
    """It is seen where it is given, and followed nowhere."""
    frames, masks = squares()
    mask = masks[3].copy()
    mask[0, 0] = 3
    for direction in ('forward', 'backward', 'both'):
        found = run(propagator, frames, {3: mask}, direction=direction)
        assert np.array_equal(found[3].mask, mask)
        assert not any(3 in result.confidence for result in found)
        assert found[3].least_confidence == 1


def test_points_keep_their_numbers_in_both_ways(propagator):
    frames, masks = squares()
    centre = lambda time, number: np.argwhere(masks[time] == number).mean(0)[::-1]  # noqa: E731
    points = {5: [centre(5, 1)], 2: [centre(2, 2)]}
    edits = {7: Edits(moved={0: centre(7, 2)})}  # point 0 is that of frame 2
    found = run(propagator, frames, None, points, edits=edits, direction='both')
    for time, result in enumerate(found):
        assert result.points.shape == (2, 2)
        assert np.abs(result.points - [centre(time, 2), centre(time, 1)]).max() < 14
    assert np.allclose(found[7].points[0], centre(7, 2))
    assert np.allclose(found[2].points[0], centre(2, 2))


def test_files_folders_and_lists_are_alike_and_what_comes_once_is_refused(propagator, tmp_path):
    frames, masks = squares(6)
    for t, frame in enumerate(frames):
        write_image(tmp_path / 'video' / f'{t:05d}.png', frame)
    expected = run(propagator, list(frames), {3: masks[3]}, direction='both')
    assert same(run(propagator, tmp_path / 'video', {3: masks[3]}, direction='both'), expected)
    write_video(tmp_path / 'video.mp4', frames)
    found = run(propagator, tmp_path / 'video.mp4', {3: masks[3]}, direction='both')
    assert min(overlap(a.mask > 0, b.mask > 0) for a, b in zip(found, expected, strict=True)) > 0.9
    with pytest.raises(ValueError, match='a file, a folder or a list of frames, not the given frames'):
        propagator.stream(iter(frames), {3: masks[3]}, direction='both')
    with pytest.raises(ValueError, match="direction must be .*'both', got 'sideways'"):
        propagator.stream(frames, masks[0], direction='sideways')


@pytest.mark.parametrize('direction', ['forward', 'both'])
def test_frames_that_cannot_be_followed_are_named(propagator, direction):
    frames, masks = squares(4)
    for video, message in (
        ([*frames[:3], frames[3][:40]], r'Frame 3 \(00003\) of the given frames is 40x96 .* the first is 64x96'),
        (list(frames[..., 0]), r'Frame 0 of the given frames must be .* got uint8 \[64, 96\]'),
        ([], 'the given frames holds no frames'),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            run(propagator, video, masks[0], direction=direction)


def test_a_part_of_a_video(propagator, tmp_path):
    frames, masks = squares()
    whole = run(propagator, frames[3:8].copy(), {1: masks[4]})
    for direction in ('forward', 'both'):
        found = run(propagator, frames, {4: masks[4]}, start=3, max_frames=5, direction=direction)
        assert [result.frame_index for result in found] == [3, 4, 5, 6, 7]
        assert [result.name for result in found] == ['00003', '00004', '00005', '00006', '00007']
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found[1:], whole[1:], strict=True))
        assert (found[0].mask > 0).any() == (direction == 'both')
    for options, message in (
        (dict(start=5), 'A label is given for frame 4, but the first frame is to be 5'),
        (dict(start=1, max_frames=3), 'frame 4, but only the first 3 are to be read, 1 to 3'),
        (dict(start=-1), 'start must be a whole number of at least 0, got -1'),
        (dict(start=4.0), 'start must be a whole number of at least 0, got 4.0'),
    ):
        with pytest.raises(ValueError, match=message):
            propagator.stream(frames, {4: masks[4]}, **options)


@pytest.mark.parametrize('direction', ['forward', 'backward', 'both'])
def test_messages_call_frames_as_the_video_has_them(propagator, direction, caplog):
    frames, masks = squares()
    given = masks[4].copy()
    given[0, 95] = 3  # lies between the cells
    run(propagator, frames, {4: given}, start=2, direction=direction)
    assert 'Frame 4: object 3 falls between' in caplog.text
    assert caplog.text.count('Frame 4') == caplog.text.count('Frame ')


def test_passes_are_counted_and_doubts_named(propagator, tmp_path):
    frames, masks = squares()
    steps = []
    summary = propagator(
        frames, {4: masks[4]}, mask_dir=tmp_path / 'm', direction='both', progress=lambda *step: steps.append(step)
    )
    assert steps == [(n, 18) for n in range(1, 19)]
    assert summary['frames'] == 9
    places, values = zip(*summary['doubtful'], strict=True)
    assert values == tuple(sorted(values))
    assert all(abs(a - b) >= 5 for n, a in enumerate(places) for b in places[:n])
    found = run(propagator, frames, {4: masks[4]}, direction='both')
    assert values[0] == min(result.least_confidence for result in found)


@pytest.mark.parametrize('direction', ['forward', 'backward', 'both'])
def test_only_what_is_followed_is_doubted(propagator, direction):
    frames, masks = squares()
    points = {2: [[22.0, 18.0], [76.0, 46.0]]}
    edits = {4: Edits(delete_points=[1]), 6: Edits(delete_points=[0])}
    results = []
    summary = propagator(
        frames, points=points, edits=edits, direction=direction, on_frame=lambda result: results.append(result)
    )
    followed = {'forward': range(2, 6), 'backward': range(3), 'both': range(6)}[direction]
    for result in results:
        sure = result.point_confidence
        assert sure is None or result.points.shape == (len(sure), 2)
        known = [] if sure is None else np.flatnonzero(~np.isnan(sure)).tolist()
        here = result.frame_index in followed
        assert known == ([0, 1] if here and result.frame_index < 4 else [0] if here else [])
        assert result.least_confidence == (min(sure[known]) if here else 1)
    places = [frame for frame, _ in summary['doubtful']]
    assert places
    assert set(places) <= set(followed) - {2}


def test_objects_and_points_are_not_doubted_by_one_measure(propagator):
    frames, masks = squares(3)
    both = run(propagator, frames, masks[0], [[18.0, 18.0]])
    alone = run(propagator, frames, None, [[18.0, 18.0]])
    assert both[2].least_confidence == min(both[2].confidence.values()) != float(both[2].point_confidence[0])
    assert alone[2].least_confidence == float(alone[2].point_confidence[0])


@cases(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_two_passes_meet_where_the_sum_of_their_confidence_is_largest(rows):
    forward, backward = np.array(rows).reshape(-1, 2).T
    sums = [forward[:m].sum() + backward[m:].sum() for m in range(len(rows) + 1)]
    assert sums[meeting(forward, backward)] == pytest.approx(max(sums), abs=1e-9)


def test_who_is_taken_from_which_pass():
    forward, backward = np.full(10, 0.5), np.array([0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9])
    chosen = from_the_end(Life(100, 110, (101, 106)), forward, backward, 100)
    assert np.flatnonzero(chosen).tolist() == [0, 3, 4, 5]
    chosen = from_the_end(Life(104, 108, (106,)), forward, backward, 100)
    assert np.flatnonzero(chosen).tolist() == [4, 5]


def test_the_lives_of_objects_and_points():
    mask = np.array([[0, 1], [2, 0]], np.uint8)
    given = {
        3: Given(mask, np.array([[1.0, 2.0]])),
        5: Given(None, np.empty((0, 2)), edits=Edits({0: (3, 4)}, [1])),
        8: Given(np.where(mask == 1, 1, 0), np.array([[5.0, 6.0]]), edits=Edits(delete_points=[0])),
    }
    plan = plan_of(given, 0, 20)
    assert plan.objects == {1: (Life(0, 5, (3,)), Life(8, 20, (8,))), 2: (Life(0, 20, (3,)),)}
    assert plan.points == (Life(0, 8, (3, 5)), Life(0, 20, (8,)))
    assert {frame: place.tolist() for frame, place in plan.places[0].items()} == {3: [1, 2], 5: [3, 4]}
