"""Objects and points that are given again, or dropped, while they are followed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stt_mm.models import LabelPropagator, Tracker
from stt_mm.models.frame_labels import Edits
from stt_mm.ops import Vote, Window, ids_to_label, label_to_mask, points_to_label, propagate

SIZE, GRID = (20, 24), (10, 12)


def small(**changes):
    return LabelPropagator(dict(name='stt_davis_s8', radius=3, num_context=3, topk=5, **changes))


def frames(count=8):
    """Features that change slowly, so that labels are carried well."""
    generator = torch.Generator().manual_seed(3)
    still = torch.randn(6, *GRID, generator=generator)
    return [still + 0.2 * torch.randn(6, *GRID, generator=generator) for _ in range(count)]


def box(number, top, left, height=8, width=8):
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + height, left : left + width] = number
    return mask


def run(given, count=8, **changes):
    """Labels of all frames; ``given`` has masks, points, and what is moved and dropped, by frame."""
    tracker = Tracker(small(**changes), with_confidence=True)
    found = []
    for time, feature in enumerate(frames(count)):
        step = dict(given.get(time, {}))
        gone = step.pop('drop', {})
        edits = Edits(step.pop('moved', {}), gone.get('objects', ()), gone.get('points', ()))
        found.append(tracker.step(feature, SIZE, edits=edits, **step).get())
    return found


def pixels(found, number):
    return [int((labels.mask == number).sum()) for labels in found]


def test_a_corrected_object_is_carried_from_the_frames_that_it_was_given_in_and_from_those_after():
    """A slow twin: the memory of each frame written down, its labels carried by the plain function."""
    first, again, features = box(1, 2, 2), box(1, 8, 12), frames()
    found = run({0: dict(mask=first), 3: dict(mask=again)})

    def on_grid(mask):
        cells = torch.from_numpy(mask)[::2, ::2] == 1
        return torch.stack([~cells, cells]).float()

    units, protocol = [F.normalize(feature, dim=0) for feature in features], small().protocol
    vote = Vote('topk', protocol.temperature, 5)
    labels = {0: on_grid(first)}
    for time in range(1, 8):
        if time == 3:
            labels[3] = on_grid(again)
            assert np.array_equal(found[3].mask, again)
            continue
        begin, before = (0, ()) if time < 3 else (3, (0,))
        memory = [*before, begin, *(t for t in range(begin + 1, time) if time - t <= 3)]
        # The first frame stands twice while it is among the last ones (`repeated`), or fills them up (`padded`).
        age = time - begin
        extra = dict(repeated=int(age <= 3), padded=max(0, 4 - age)).get(protocol.first_frame, 0)
        copies = [1 + extra * (t == begin) for t in memory]
        labels[time] = propagate(
            units[time],
            torch.stack([units[t] for t in memory]),
            torch.stack([labels[t] for t in memory]),
            Window(protocol.window, 3, protocol.strict),
            vote,
            copies,
        )
        ids = torch.tensor([0, 1], dtype=torch.uint8)
        mask, _ = label_to_mask([labels[time]], ids, SIZE, protocol.min_max, protocol.gain, protocol.read_out)
        assert np.array_equal(found[time].mask, mask.numpy()), time


def test_what_comes_before_a_correction_and_what_nobody_corrects_stay():
    given = {0: dict(mask=box(1, 0, 0) + box(2, 10, 12))}
    plain, corrected = run(given), run(given | {4: dict(mask=box(1, 2, 3))})
    for time in range(4):
        assert np.array_equal(plain[time].mask, corrected[time].mask)
    assert np.array_equal(corrected[4].mask == 1, box(1, 2, 3) == 1)
    assert pixels(plain, 1)[5:] != pixels(corrected, 1)[5:]
    # The other one is far away.
    assert pixels(plain, 2) == pixels(corrected, 2)


@pytest.mark.parametrize('feedback', ['soft', 'hard'])
def test_others_leave_room_to_a_corrected_object(feedback):
    """Object 2 was drawn over what is object 1: the correction takes it back, and keeps it."""
    given = {0: dict(mask=np.maximum(box(2, 4, 4, 10, 14), box(1, 0, 0, 4, 4)))}
    right = box(1, 4, 4, 10, 7)
    found = run(given | {3: dict(mask=right)}, feedback=feedback)
    plain = run(given, feedback=feedback)
    area = right == 1
    assert (plain[3].mask[area] == 2).mean() > 0.9
    assert (found[3].mask[area] == 1).all()
    for time in range(4, 8):
        kept = (found[time].mask[area] == 1).mean()
        assert kept > 0.5, (time, kept)
        assert (plain[time].mask[area] == 1).mean() < 0.1


@pytest.mark.parametrize('feedback', ['soft', 'stretched', 'hard'])
def test_a_new_object_keeps_what_it_takes_from_one_that_is_followed(feedback):
    """Drawn over half of it, which both would claim if the older one left no room."""
    found = run({0: dict(mask=box(1, 4, 4, 12, 12)), 3: dict(mask=box(2, 4, 4, 6, 12))}, feedback=feedback)
    assert pixels(found, 2)[:4] == [0, 0, 0, 72]
    for labels in found[4:]:
        assert (labels.mask[4:10, 4:16] == 2).sum() > 48
        assert (labels.mask[10:16, 4:16] == 1).sum() > 48


def test_an_object_that_leaked_gives_back_what_it_took():
    """Pixels that the corrected mask leaves go to whoever else has them in that frame, not to nobody."""
    given = {0: dict(mask=np.maximum(box(1, 2, 2, 16, 10), box(2, 2, 12, 16, 10)))}
    found = run(given | {3: dict(mask=box(1, 2, 2, 6, 10))})
    assert pixels(found, 1)[3] == 60
    left = (box(1, 2, 2, 16, 10) == 1) & (box(1, 2, 2, 6, 10) == 0)
    assert set(np.unique(found[3].mask[left]).tolist()) <= {0, 2}


def test_new_objects_and_corrections_come_in_one_mask():
    mask = np.maximum(box(1, 2, 3), box(7, 10, 14))
    found = run({0: dict(mask=np.maximum(box(1, 0, 0), box(2, 10, 0))), 3: dict(mask=mask)})
    assert np.array_equal(np.where(mask, found[3].mask, 0), mask)
    assert pixels(found, 2)[3] > 0
    assert all(count == 0 for count in pixels(found, 7)[:3])
    assert all(count > 0 for count in pixels(found, 7)[3:])
    # All that are followed at once, twice, and one that came later.
    both = np.maximum(box(2, 0, 10), box(1, 8, 10))
    found = run({0: dict(mask=mask), 2: dict(mask=both), 4: dict(mask=both), 5: dict(mask=box(7, 0, 0))})
    assert np.array_equal(np.where(both, found[4].mask, 0), both)
    assert np.array_equal(np.where(box(7, 0, 0), found[5].mask, 0), box(7, 0, 0))


def test_an_object_that_is_dropped_is_gone_and_its_id_free():
    given = {0: dict(mask=np.maximum(box(1, 0, 0), box(2, 10, 12)))}
    plain = run(given)
    found = run(given | {3: dict(drop=dict(objects=[2])), 6: dict(mask=box(2, 0, 14))})
    assert [np.array_equal(a.mask, b.mask) for a, b in zip(plain, found, strict=True)][:3] == [True] * 3
    assert pixels(found, 2)[3:6] == [0, 0, 0]
    assert pixels(found, 2)[6] == 64
    assert pixels(found, 1) == pixels(plain, 1)
    # Nothing is left, and another object begins anew.
    found = run(given | {3: dict(drop=dict(objects=[1, 2])), 5: dict(mask=box(3, 0, 0))})
    assert [sorted(np.unique(labels.mask)) for labels in found[3:6]] == [[0], [0], [0, 3]]
    alone = run({5: dict(mask=box(3, 0, 0))})
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(alone[5:], found[5:], strict=True))


@pytest.mark.parametrize('changes', [{}, dict(least_pixels=12)])
def test_an_object_that_was_lost_at_once_can_be_dropped_and_given_again(changes):
    """It falls between the cells, or is too small for the protocol."""
    small_one = box(2, 10, 12, 1, 1)
    given = {0: dict(mask=np.maximum(box(1, 0, 0), small_one)), 2: dict(drop=dict(objects=[2]))}
    found = run(given | {4: dict(mask=box(2, 10, 12)), 6: dict(drop=dict(objects=[2]))}, **changes)
    assert pixels(found, 2)[1:4] == [0, 0, 0]
    assert pixels(found, 2)[4] == 64
    assert pixels(found, 2)[6:] == [0, 0]
    with pytest.raises(ValueError, match='no object 2 to correct or delete at frame 3, only: 1'):
        run(given | {3: dict(drop=dict(objects=[2]))}, **changes)


def scattered(seed, objects=4):
    """Random areas that touch each other, as annotators and drifting labels leave them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, objects + 1, (SIZE[0] // 4, SIZE[1] // 4))
    return np.kron(blocks, np.ones((4, 4))).astype(np.uint8)


def recorded(monkeypatch, given, **changes):
    """Labels of all frames, and what was carried to them, by frame, before anything is read from it."""
    carried = {}

    def step(self, feature, step=LabelPropagator.step):
        found = step(self, feature)
        carried[self._time] = found.clone()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(LabelPropagator, 'step', step)
        return run(given, **changes), carried


READINGS = [
    dict(feedback='soft'),
    dict(feedback='hard'),
    dict(feedback='stretched', min_max=False),
    dict(feedback='soft', gain=1.3, read_out='nearest'),
    dict(feedback='hard', first_label='bilinear', least_pixels=3),
]


@pytest.mark.parametrize(
    ('changes', 'late'), [*((each, False) for each in READINGS), (READINGS[0], True), (READINGS[2], True)]
)
def test_who_is_deleted_takes_nothing_of_the_others_along(monkeypatch, changes, late):
    """To the bit, whatever touches and overlaps: its pixels alone become those of nobody, or of another group."""
    for seed in range(4):
        given = {0: dict(mask=scattered(seed))} | ({2: dict(mask=box(9, 4, 6, 8, 8))} if late else {})
        plain, before = recorded(monkeypatch, given, **changes)
        found, after = recorded(monkeypatch, given | {3: dict(drop=dict(objects=[1, 3]))}, **changes)
        for time in range(8):
            gone = np.isin(plain[time].mask, [1, 3]) if time >= 3 else np.zeros(SIZE, bool)
            assert np.array_equal(found[time].mask[~gone], plain[time].mask[~gone]), (seed, time)
            assert set(np.unique(found[time].mask[gone])) <= ({0, 9} if late else {0})
            assert time == 0 or torch.equal(before[time][[2, 4]], after[time][[2, 4]])
            assert [found[time].confidence[n] for n in (2, 4)] == [plain[time].confidence[n] for n in (2, 4)]
            assert found[time].confidence.keys() == plain[time].confidence.keys() - ({1, 3} if time >= 3 else set())
        assert gone.any()


@pytest.mark.parametrize('changes', [dict(feedback='soft', min_max=value) for value in (True, False)])
@pytest.mark.parametrize('gone', [[1, 2, 3, 4], [9]])
def test_a_whole_group_that_goes_leaves_every_pixel_that_was_not_its_own(changes, gone):
    for seed in range(4):
        given = {0: dict(mask=scattered(seed)), 2: dict(mask=box(9, 4, 6, 8, 8))}
        plain = run(given, **changes)
        deleted = run(given | {4: dict(drop=dict(objects=gone))}, **changes)
        again = np.where(np.isin(plain[4].mask, gone), plain[4].mask, 0)
        corrected = run(given | {4: dict(mask=again)}, **changes)
        for time in range(4, 8):
            its_own = np.isin(plain[time].mask, gone)
            assert np.array_equal(deleted[time].mask[~its_own], plain[time].mask[~its_own]), (seed, time)
            others = ~its_own & ~np.isin(corrected[time].mask, gone)
            assert np.array_equal(corrected[time].mask[others], plain[time].mask[others]), (seed, time)
            assert its_own.any()
            assert (~its_own & (plain[time].mask > 0)).any()


@pytest.mark.parametrize('changes', [reading for reading in READINGS if reading['feedback'] == 'hard'])
def test_what_a_group_covers_is_fed_back_as_covered_where_it_is_corrected(monkeypatch, changes):
    """The masks that the memory takes are those that were seen, not those that would be without the group."""
    hidden = 0
    for seed in range(4):
        given = {0: dict(mask=scattered(seed)), 2: dict(mask=box(9, 4, 6, 8, 8))}
        plain, before = recorded(monkeypatch, given, **changes)
        again = np.where(plain[4].mask == 9, plain[4].mask, 0)
        found, after = recorded(monkeypatch, given | {4: dict(mask=again)}, **changes)
        assert torch.equal(before[5][:5], after[5][:5])
        rest = (plain[5].mask != 9) & (found[5].mask != 9)
        assert np.array_equal(found[5].mask[rest], plain[5].mask[rest])
        deleted = run(given | {4: dict(drop=dict(objects=[9]))}, **changes)
        hidden += int((deleted[4].mask[again > 0] > 0).sum())
    assert hidden > 50


@pytest.mark.parametrize('changes', READINGS)
def test_who_is_corrected_takes_its_pixels_and_nothing_else(monkeypatch, changes):
    """Given as it was found, so that no pixel of the others is concerned; their labels stay to the bit."""
    for seed in range(4):
        given = {0: dict(mask=scattered(seed))}
        plain, before = recorded(monkeypatch, given, **changes)
        again = np.where(plain[3].mask == 2, plain[3].mask, 0)
        found, after = recorded(monkeypatch, given | {3: dict(mask=again)}, **changes)
        taken = False
        for time in range(1, 8):
            # A pixel that the corrected one takes later is no longer fed back as that of another.
            assert taken or torch.equal(before[time][[1, 3, 4]], after[time][[1, 3, 4]]), (seed, time)
            taken |= changes['feedback'] == 'hard' and not set(np.unique(plain[time].mask[found[time].mask == 2])) <= {
                0,
                2,
            }
            free = (plain[time].mask != 2) & (found[time].mask != 2)
            assert taken or np.array_equal(found[time].mask[free], plain[time].mask[free]), (seed, time)
        assert found[7].confidence[2] != plain[7].confidence[2]


def test_others_leave_room_where_they_were_seen_and_nowhere_else(monkeypatch):
    """What the memory holds of them in that frame, by plain numpy."""
    given = {0: dict(mask=scattered(7))}
    right, kept = box(1, 4, 4, 10, 7), {}

    def add(self, label, earlier=None, add=LabelPropagator.add):
        if earlier is not None:
            kept['before'] = self._groups[0].labels[:, :, self._frames.index(self._time)].clone()
        add(self, label, earlier)

    monkeypatch.setattr(LabelPropagator, 'add', add)
    tracker = Tracker(small())
    for time, feature in enumerate(frames(4)):
        plain = run(given, 4)[3].mask if time == 3 else None
        tracker.step(feature, SIZE, given[0]['mask'] if time == 0 else right if time == 3 else None)
    after = tracker._propagator._groups[0].labels[:, :, tracker._propagator._frames.index(3)]
    cells = (slice(1, None, 2), slice(1, None, 2))  # the nearest pixel of two, by PIL's rounding
    expected = kept['before'].numpy().copy()
    assert len(np.unique(plain[cells][right[cells] == 1])) > 2
    for number in (2, 3, 4):
        lost = (plain[cells] == number) & (right[cells] == 1)
        expected[..., 0] += np.where(lost, expected[..., number], 0)
        expected[..., number][lost] = 0
    np.testing.assert_array_equal(after.numpy(), expected)


def test_many_corrections_take_no_more_memory_than_two():
    tracker, features = Tracker(small()), frames(8)
    tracker.step(features[0], SIZE, scattered(1))
    channels = []
    for time in range(1, 8):
        tracker.step(features[time], SIZE, box(1 + time % 2, 4, 4))
        channels.append([group.labels.shape[3] for group in tracker._propagator._groups])
    assert channels[0] == [5, 2]
    assert channels[1:] == [[5, 2, 2]] * 6
    # The ghosts of a group go with the last of its objects.
    tracker.step(features[0], SIZE, edits=Edits(delete=[3, 4]))
    assert [group.labels.shape[3] for group in tracker._propagator._groups] == [2, 2]


def test_a_ghost_competes_in_its_group_and_hides_nothing_of_others():
    """One cell per case: background, ghost, object of the first group; background, object of the second."""
    cases = {
        (0.1, 0.6, 0.3, 0.9, 0.1): 0,  # the ghost wins in its group, and nobody in the other
        (0.1, 0.3, 0.6, 0.9, 0.1): 5,
        (0.0, 0.6, 0.4, 0.3, 0.7): 7,  # what the other group has is not the ghost's
        (0.0, 0.9, 0.1, 0.3, 0.7): 7,
        (0.1, 0.3, 0.6, 0.05, 0.02): 5,  # nor is the other background
        (0.0, 0.5, 0.5, 0.9, 0.1): 0,  # as between two objects, the first one wins a tie
        (0.9, 0.1, 0.0, 0.4, 0.6): 7,
    }
    values = torch.tensor(list(cases)).t()[:, None]
    ids = torch.tensor([0, 0, 5, 7], dtype=torch.uint8)
    mask, _ = label_to_mask([values[:3], values[3:]], ids, (1, len(cases)), False)
    assert mask[0].tolist() == list(cases.values())
    # Of a group of which nothing but a ghost is left somewhere nothing is seen: the other one is read as if alone.
    dead = torch.stack([values[0], values[1], torch.zeros_like(values[2])])
    mask, _ = label_to_mask([dead, values[3:]], ids, (1, len(cases)), False)
    alone, _ = label_to_mask([values[3:]], ids[[0, 3]], (1, len(cases)), False)
    assert torch.equal(mask, alone)


def test_points_that_stay_are_the_same_to_the_bit_where_others_go_and_move():
    """Also at a corner, where many places of a map are equally high, so that rounding would decide between them."""
    points = np.array([[0.0, 0.0], [12.0, 9.0], [23.0, 19.0], [8.0, 15.0], [23.0, 0.0], [0.0, 19.0]])
    for count, dropped in ((3, ()), (6, (3,))):
        for changes in ({}, dict(points='grid'), dict(points='image', occlusion=4.0)):
            given = {0: dict(points=points[:count])}
            plain = run(given, **changes)
            edits = {2: dict(moved={1: (6.0, 14.0)}), 4: dict(drop=dict(points=dropped))}
            found, stay = run(given | edits, **changes), [n for n in range(count) if n not in (1, *dropped)]
            for one, other in zip(found, plain, strict=True):
                assert np.array_equal(one.points[stay], other.points[stay]), changes
                assert np.array_equal(one.point_confidence[stay], other.point_confidence[stay])
                assert not changes.get('occlusion') or np.array_equal(one.occluded[stay], other.occluded[stay])


def test_points_that_are_moved_keep_their_number():
    points = np.array([[4.0, 4.0], [20.0, 6.0], [8.0, 15.0]])
    given = {0: dict(points=points), 2: dict(points=np.array([[12.0, 12.0]]))}
    plain = run(given)
    moved = run(given | {4: dict(moved={1: (6.0, 14.0), 3: (2.0, 2.0)})})
    for time in range(4):
        assert np.array_equal(plain[time].points, moved[time].points)
    assert moved[4].points[[1, 3]].tolist() == [[6, 14], [2, 2]]
    for time in range(4, 8):
        assert moved[time].points.shape == (4, 2)
        assert np.array_equal(moved[time].points[[0, 2]], plain[time].points[[0, 2]])
    near = np.abs(moved[5].points[[1, 3]] - [[6, 14], [2, 2]]).max()
    assert near < 4
    assert np.abs(plain[5].points[[1, 3]] - [[6, 14], [2, 2]]).max() > 8


def test_points_that_are_dropped_are_lost():
    given = {0: dict(points=np.array([[4.0, 4.0], [20.0, 6.0]])), 3: dict(drop=dict(points=[0]))}
    found = run(given)
    plain = run({0: given[0]})
    assert all(labels.points[0].tolist() == [-1, -1] for labels in found[3:])
    assert all(np.array_equal(a.points[1], b.points[1]) for a, b in zip(found, plain, strict=True))
    found = run({0: given[0], 3: dict(drop=dict(points=[0, 1])), 5: dict(points=np.array([[3.0, 3.0]]))})
    assert found[4].points.tolist() == [[-1, -1]] * 2
    assert found[5].points.tolist() == [[-1, -1]] * 2 + [[3, 3]]


def test_hidden_points_follow_a_correction():
    given = {
        0: dict(points=np.array([[4.0, 4.0], [20.0, 6.0]])),
        3: dict(drop=dict(points=[0]), moved={1: (6.0, 14.0)}),
    }
    found = run(given, occlusion=3.0)
    assert [labels.occluded.tolist() for labels in found[3:]][0] == [True, False]
    assert all(labels.occluded[0] for labels in found[3:])


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({2: dict(moved={5: (1, 1)})}, 'There is no point 5 to correct or delete at frame 2, only: 0, 1'),
        ({2: dict(drop=dict(objects=[4]))}, 'There is no object 4 to correct or delete at frame 2, only: 1'),
        ({2: dict(drop=dict(points=[2]))}, 'There is no point 2 .* at frame 2, only: 0, 1'),
        ({2: dict(drop=dict(points=[0])), 3: dict(moved={0: (1, 1)})}, 'no point 0 .* at frame 3, only: 1'),
    ],
)
def test_what_nobody_follows_cannot_be_corrected(given, message):
    start = {0: dict(mask=box(1, 0, 0), points=np.array([[4.0, 4.0], [20.0, 6.0]]))}
    with pytest.raises(ValueError, match=message):
        run(start | given)


def test_a_corrected_object_between_the_cells_is_told(caplog):
    run({0: dict(mask=box(1, 0, 0)), 3: dict(mask=box(1, 4, 4, 1, 1))})
    assert 'Frame 3: object 1 falls between the 10x12 cells' in caplog.text


def test_confidence_is_the_overlap_of_what_was_found_and_what_was_read(monkeypatch):
    """Of each object and point, in a frame in which some are given, by plain numpy."""
    carried = {}

    def step(self, feature, step=LabelPropagator.step):
        labels = step(self, feature)
        carried[self._time] = labels
        return labels

    monkeypatch.setattr(LabelPropagator, 'step', step)
    given = {
        0: dict(mask=np.maximum(box(1, 0, 0), box(4, 10, 12)), points=np.array([[4.0, 4.0], [20.0, 16.0]])),
        3: dict(mask=box(6, 0, 14), points=np.array([[12.0, 3.0]])),
    }
    found = run(given)
    for time, labels in enumerate(found):
        assert labels.confidence.keys() == ({1, 4} if time < 3 else {1, 4, 6})
        assert labels.point_confidence.shape == ((2,) if time < 3 else (3,))
        assert all(0 <= value <= 1 for value in [*labels.confidence.values(), *labels.point_confidence])
    assert found[0].confidence == {1: 1.0, 4: 1.0}
    assert found[0].point_confidence.tolist() == [1, 1]
    assert found[3].confidence[6] == found[3].point_confidence[2] == 1
    for time in (2, 5):
        soft = carried[time][3:5].numpy()
        drawn = ids_to_label(torch.from_numpy(found[time].mask), torch.tensor([1, 4]), GRID)[1:].numpy()
        if time == 5:  # what is given anew over others is no sign against these
            assert 6 in found[time].mask
        for number, a, b in zip((1, 4), soft, drawn, strict=True):
            expected = np.minimum(a, b).sum() / np.maximum(a, b).sum()
            assert found[time].confidence[number] == pytest.approx(expected, abs=1e-6)
        maps = carried[time][:2].numpy()  # points are taken in before masks
        drawn = points_to_label(
            torch.from_numpy(found[time].points[:2]), SIZE, small().protocol.input_size(SIZE), GRID, 'input'
        )
        for sure, a, b in zip(found[time].point_confidence, maps, drawn.numpy(), strict=False):
            assert sure == pytest.approx(np.minimum(a, b).sum() / np.maximum(a, b).sum(), abs=1e-6)


def test_confidence_falls_where_the_matches_contradict_each_other():
    still, noise = frames(2)[0], torch.randn(6, *GRID, generator=torch.Generator().manual_seed(5))
    sure = []
    for feature in (still, 0.5 * still + 0.5 * noise, noise):
        tracker = Tracker(small(), with_confidence=True)
        tracker.step(still, SIZE, box(1, 2, 2, 12, 12), np.array([[8.0, 8.0]]))
        labels = tracker.step(feature, SIZE).get()
        sure.append((labels.confidence[1], float(labels.point_confidence[0])))
    assert sure[0][0] > 0.85
    assert sure[0][0] > max(sure[1][0], sure[2][0])
    assert sure[0][1] > sure[2][1]


def test_confidence_of_what_is_lost_or_dropped():
    found = run(
        {0: dict(mask=box(1, 0, 0), points=np.array([[4.0, 4.0]])), 3: dict(drop=dict(objects=[1], points=[0]))}
    )
    assert found[4].confidence in (None, {})
    assert np.isnan(found[4].point_confidence).tolist() == [True]
    plain = Tracker(small())
    assert plain.step(frames()[0], SIZE, box(1, 0, 0)).get().confidence is None
