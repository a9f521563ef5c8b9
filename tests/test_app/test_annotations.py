"""What is given becomes the labels of a run, by hand-made cases on frames of 2 x 3 pixels."""

import numpy as np
import pytest

from stt_mm.app import changes
from stt_mm.app.annotations import earlier_labels, is_over, laid_over, later_labels, whole_labels
from stt_mm.errors import InputError
from stt_mm.utils.rle import decode_rle, encode_rle

SIZE = (2, 3)


def area(*pixels):
    """The run-length code of some of the pixels 0 to 5."""
    mask = np.zeros(6, bool)
    mask[list(pixels)] = True
    return encode_rle(mask.reshape(SIZE))


def bits(*pixels):
    return decode_rle(area(*pixels))


def applied(entries, change):
    left = {key: value for key, value in entries.items() if key not in change}
    return left | {key: value for key, value in change.items() if value is not None}


@pytest.fixture
def entries():
    """Two objects, of which the first ends and comes back, and two points, of which the second is given first."""
    return {
        ('object', 1, -1): 'ball',
        ('object', 2, -1): 'dog',
        ('area', 1, 0): area(0, 1),
        ('end', 1, 4): True,
        ('area', 1, 6): area(5),
        ('area', 2, 2): area(3),
        ('point', 1, -1): 'nose',
        ('point', 2, -1): 'tail',
        ('place', 1, 3): [1.0, 1.0],
        ('place', 2, 0): [2.0, 0.0],
        ('place', 2, 5): [0.0, 1.0],
        ('point_end', 1, 7): True,
    }


def test_a_run_through_the_whole_video_takes_all(entries):
    labels = whole_labels(entries, range(10))
    assert {t: mask.tolist() for t, mask in labels.masks.items()} == {
        0: [[1, 1, 0], [0, 0, 0]],
        2: [[0, 0, 0], [2, 0, 0]],
        6: [[0, 0, 0], [0, 0, 1]],
    }
    assert {t: points.tolist() for t, points in labels.points.items()} == {0: [[2, 0]], 3: [[1, 1]]}
    assert labels.order == (2, 1)
    assert {t: (dict(e.moved), list(e.delete), list(e.delete_points)) for t, e in labels.edits.items()} == {
        4: ({}, [1], []),
        5: ({0: [0.0, 1.0]}, [], []),
        7: ({}, [], [1]),
    }
    assert labels.frames == [0, 2, 3, 6]


def test_an_end_of_what_is_not_followed_is_passed_over(entries):
    entries |= {('end', 1, 5): True, ('end', 2, 1): True, ('end', 2, 2): True}
    assert whole_labels(entries, range(10)).edits.keys() == {4, 5, 7}
    assert list(whole_labels(entries, range(10)).edits[4].delete) == [1]
    assert list(whole_labels(entries, range(10)).edits[5].delete) == []


def test_going_on_takes_the_frame_as_it_is_shown_with_those_before_in_which_it_was_given(entries):
    shown = np.array([[0, 2, 2], [0, 0, 0]], np.uint8)
    order, labels = later_labels(entries, 5, 9, shown, {1: (0.5, 0.5), 2: (0.0, 1.0)})
    # The first object has ended before, so that what it was given as is no part of it any more.
    assert order == [0, 2, 3, 5, 6, 7, 8]
    assert {order[i]: mask.tolist() for i, mask in labels.masks.items()} == {
        2: [[0, 0, 0], [2, 0, 0]],
        5: [[0, 2, 2], [0, 0, 0]],
        6: [[0, 0, 0], [0, 0, 1]],
    }
    assert {order[i]: points.tolist() for i, points in labels.points.items()} == {0: [[2, 0]], 3: [[1, 1]]}
    assert {order[i]: (dict(e.moved), list(e.delete_points)) for i, e in labels.edits.items()} == {
        5: ({0: (0.0, 1.0), 1: (0.5, 0.5)}, []),
        7: ({}, [1]),
    }


def test_going_back_takes_what_was_given_before(entries):
    shown = np.array([[0, 2, 2], [0, 0, 0]], np.uint8)
    labels = earlier_labels(entries, 5, shown, {2: (0.0, 1.0)})
    assert labels.masks.keys() == {0, 2, 5}
    assert labels.masks[5].tolist() == shown.tolist()
    assert list(labels.edits[4].delete) == [1]
    assert dict(labels.edits[5].moved) == {0: (0.0, 1.0)}


def test_what_is_given_lies_over_what_was_found(entries):
    found = np.array([[2, 1, 1], [9, 2, 0]], np.uint8)
    assert laid_over(entries, 2, found, SIZE).tolist() == [[0, 1, 1], [2, 0, 0]]
    assert laid_over(entries, 3, found, SIZE).tolist() == [[2, 1, 1], [0, 2, 0]]
    assert laid_over(entries, 4, found, SIZE).tolist() == [[2, 0, 0], [0, 2, 0]]
    assert laid_over(entries, 6, found, SIZE).tolist() == [[2, 0, 0], [0, 2, 1]]
    assert laid_over(entries, 0, None, SIZE).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert [is_over(entries, 1, t) for t in range(8)] == [False] * 4 + [True] * 2 + [False] * 2


def test_an_object_takes_its_place_from_others(entries):
    entries = applied(entries, changes.painted(entries, 2, 0, bits(1, 2)))
    assert laid_over(entries, 0, None, SIZE).tolist() == [[1, 2, 2], [0, 0, 0]]
    entries = applied(entries, changes.painted(entries, 2, 0, bits(0, 1)))
    assert ('area', 1, 0) not in entries


def test_an_object_that_is_erased_ends_or_is_taken_back(entries):
    assert changes.painted(entries, 2, 2, bits()) == {('area', 2, 2): None}
    assert changes.painted(entries, 2, 5, bits()) == {('end', 2, 5): True}
    again = changes.painted(applied(entries, {('end', 2, 5): True}), 2, 5, bits(0))
    assert again == {('area', 2, 5): area(0), ('end', 2, 5): None}
    assert changes.painted(entries, 2, 2, bits(3)) == {}


def test_ends(entries):
    assert changes.ended(entries, 'object', 1, 6) == {('area', 1, 6): None, ('end', 1, 6): True}
    assert changes.ended(entries, 'point', 2, 3) == {('place', 2, 5): None, ('point_end', 2, 3): True}
    assert changes.moved(entries, 1, 8, [0.0, 0.0]) == {('point_end', 1, 7): None, ('place', 1, 8): [0.0, 0.0]}
    with pytest.raises(InputError, match='dog is not given before frame 2'):
        changes.ended(entries, 'object', 2, 2)


def test_numbers_are_new_also_to_what_was_found(entries):
    assert changes.added(entries, 'object', {3, 4}) == (5, {('object', 5, -1): 'Object 5'})
    full = {('object', number, -1): '' for number in range(1, 255)}
    with pytest.raises(InputError, match='There are 254 objects'):
        changes.added(full, 'object', ())


def test_what_is_taken_out_leaves_nothing(entries):
    left = applied(entries, changes.deleted(entries, 'object', 1))
    assert {key for key in left if key[0] in ('object', 'area', 'end')} == {('object', 2, -1), ('area', 2, 2)}
    assert applied(entries, changes.forgotten(entries, 'object', 1, 4)).keys() == entries.keys() - {('end', 1, 4)}
    # A point without a place is none.
    assert changes.forgotten(entries, 'point', 1, 3) == changes.deleted(entries, 'point', 1)
    with pytest.raises(InputError, match='Nothing was given for dog in frame 0'):
        changes.forgotten(entries, 'object', 2, 0)
    with pytest.raises(InputError, match='There is no object 7'):
        changes.deleted(entries, 'object', 7)


def test_a_name_needs_letters(entries):
    assert changes.renamed(entries, 'point', 1, '  left   eye ') == {('point', 1, -1): 'left eye'}
    with pytest.raises(InputError, match='at least one letter'):
        changes.renamed(entries, 'point', 1, ' \n')
