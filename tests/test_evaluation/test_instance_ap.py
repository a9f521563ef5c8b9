"""AP of instances against loops written from the definition, and the value of the published script."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from stt_mm.evaluation.functional import instance_ap, match_instances


def slow_matches(prediction, parts, truth, categories):
    """Each part as a set of pixels; the parts of a category are dropped if one of them is empty."""

    def pixels(mask, part_id):
        return {tuple(index) for index in np.argwhere(mask == part_id)}

    result = []
    for part_id, category, score in parts:
        if all(pixels(prediction, other) for other, other_category, _ in parts if other_category == category):
            own = pixels(prediction, part_id)
            others = [pixels(truth, i) for i, c in categories.items() if c == category]
            result.append((category, score, max((len(own & x) / len(own | x) for x in others if x), default=0.0)))
    return result


def slow_ap(matches, num_true, threshold):
    """Area under the envelope: for each step of recall the best precision from there on."""
    matches = sorted(matches, key=lambda match: -match[1])
    hits = [overlap > threshold for _, _, overlap in matches]
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    return sum(max(precision[n:]) / num_true for n, hit in enumerate(hits) if hit) if num_true else 0.0


masks = hnp.arrays(np.uint8, (4, 5), elements=st.integers(0, 4))
part_categories = st.dictionaries(st.integers(1, 5), st.integers(1, 3), max_size=5)


@settings(max_examples=150, deadline=None)
@given(prediction=masks, truth=masks, predicted=part_categories, categories=part_categories, data=st.data())
def test_matches_and_ap_equal_their_definition(prediction, truth, predicted, categories, data):
    scores = data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=5, max_size=5))
    parts = [(i, category, scores[i - 1]) for i, category in predicted.items()]
    matches, counts = match_instances(prediction, parts, truth, categories)
    assert matches == [pytest.approx(match) for match in slow_matches(prediction, parts, truth, categories)]
    present = [category for i, category in categories.items() if (truth == i).any()]
    assert counts.tolist() == [present.count(category) for category in range(20)]
    ap = instance_ap(matches, counts)
    for category in (1, 2, 3):
        own = [match for match in matches if match[0] == category]
        expected = [slow_ap(own, counts[category], tenth / 10) for tenth in range(1, 10)]
        assert ap[category - 1].tolist() == pytest.approx(expected)
    assert not ap[3:].any()


def test_equals_the_published_script(data):
    folder = data / 'instance_ap'
    matches, counts = [], 0
    for text in sorted((folder / 'pred').glob('*/*.txt')):
        true_text = folder / 'gt' / text.relative_to(folder / 'pred')
        prediction, truth = (np.array(Image.open(path.with_suffix('.png'))) for path in (text, true_text))
        categories = dict(map(int, line.split()) for line in true_text.read_text().splitlines())
        rows = [line.split() for line in text.read_text().splitlines()]
        predicted = [(i, int(category), float(score)) for i, (category, score) in enumerate(rows, start=1)]
        found, number = match_instances(prediction, predicted, truth, categories)
        matches, counts = matches + found, counts + number
    ap = instance_ap(matches, counts)
    expected = json.loads((folder / 'expected.json').read_text())['AP']
    assert ap == pytest.approx(np.array(expected), rel=0, abs=1e-12)
    assert ap.mean() == pytest.approx(0.06508632692843219, rel=0, abs=1e-12)
    assert ap.mean(axis=0).round(6).tolist() == [
        0.221178,
        0.194403,
        0.088028,
        0.046788,
        0.024269,
        0.008187,
        0.002924,
        0,
        0,
    ]


def row(*ids):
    return np.array([ids], np.uint8)


def test_several_predictions_may_hit_one_part():
    # Parts 1 and 2 each cover half of the true part: an overlap of one half, which is not above 0.5.
    matches, counts = match_instances(row(1, 1, 2, 2), [(1, 5, 0.9), (2, 5, 0.8)], row(7, 7, 7, 7), {7: 5})
    assert matches == [(5, 0.9, 0.5), (5, 0.8, 0.5)]
    assert counts[5] == counts.sum() == 1
    # Recall goes on to 2 at precision 1.
    assert instance_ap(matches, counts)[4].tolist() == [2, 2, 2, 2, 0, 0, 0, 0, 0]


def test_a_missing_part_drops_its_category_in_the_frame():
    parts = [(1, 5, 0.9), (2, 5, 0.8), (3, 6, 0.7)]
    matches, counts = match_instances(row(1, 1, 3), parts, row(1, 1, 2), {1: 5, 2: 6})
    assert [match[0] for match in matches] == [6]
    assert counts[5] == 1
    kept, _ = match_instances(row(1, 1, 3), parts, row(1, 1, 2), {1: 5, 2: 6}, drop_incomplete=False)
    assert kept == [(5, 0.9, 1.0), (6, 0.7, 1.0)]


def test_true_parts_count_only_if_the_mask_and_the_list_have_them():
    _, counts = match_instances(row(0, 0, 0), [], row(1, 2, 9), {1: 5, 2: 0, 3: 5, 0: 5})
    assert {category: int(n) for category, n in enumerate(counts) if n} == {5: 1}


def test_a_category_without_true_parts_has_no_ap():
    matches, counts = match_instances(row(1), [(1, 5, 0.9)], row(0), {})
    assert matches == [(5, 0.9, 0.0)]
    assert not instance_ap(matches, counts).any()


def test_equal_scores_keep_their_order():
    counts = np.bincount([5], minlength=20)
    first_hits, last_hits = [(5, 0.5, 1.0), (5, 0.5, 0.0)], [(5, 0.5, 0.0), (5, 0.5, 1.0)]
    assert [instance_ap(matches, counts)[4, 0] for matches in (first_hits, last_hits)] == [1.0, 0.5]


def test_arguments():
    with pytest.raises(ValueError, match=r'\[1, 1\] and \[1, 2\]'):
        match_instances(row(1), [], row(1, 1), {})
    wide = np.array([[256]])
    for arguments in (
        (row(1), [(256, 5, 0.5)], row(1), {}),
        (row(1), [], row(1), {256: 5}),
        (wide, [], row(1), {}),
        (row(1), [], wide, {}),
    ):
        with pytest.raises(ValueError, match='0 to 255, got 256'):
            match_instances(*arguments)
    assert match_instances(row(255), [(255, 5, 0.5)], row(255), {255: 5})[0] == [(5, 0.5, 1.0)]


def test_only_parts_of_the_categories_1_to_19_are_evaluated():
    prediction = row(1, 2, 3, 4, 0)
    given = {1: 1, 2: 19, 3: 20, 4: 0, 0: 5}
    matches, counts = match_instances(
        prediction, [(k, category, 0.5) for k, category in given.items()], prediction, given
    )
    assert matches == [(1, 0.5, 1.0), (19, 0.5, 1.0)]
    assert np.flatnonzero(counts).tolist() == [1, 19]
    # What is not evaluated may have any id.
    assert match_instances(row(1), [(300, 20, 0.5)], row(1), {300: 20})[0] == []
    ap = instance_ap(matches, counts)
    assert ap.shape == (19, 9)
    assert np.flatnonzero(ap.all(axis=1)).tolist() == [0, 18]


def test_many_equal_scores_keep_their_order():
    rng = np.random.default_rng(0)
    matches = [
        (5, score, float(hit)) for score, hit in zip(rng.choice([0.2, 0.5], 400), rng.random(400) < 0.5, strict=True)
    ]
    counts = np.bincount([5] * 250, minlength=20)
    assert instance_ap(matches, counts)[4, 0] == pytest.approx(slow_ap(matches, 250, 0.1), abs=1e-12)
