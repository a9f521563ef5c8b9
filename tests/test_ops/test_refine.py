import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from stt_mm.ops import Patches, point_patches, pyramid, refined_points
from stt_mm.ops.refine import FLAT, MARGIN, PENALTY, REACH


def smooth(size, seed, channels=3):
    """A picture [C, h, w] of blobs a few pixels wide."""
    noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(seed))
    kernel = torch.ones(channels, 1, 3, 3) / 9
    for _ in range(3):
        noise = F.conv2d(F.pad(noise, [1] * 4, mode='replicate'), kernel, groups=channels)
    return noise[0]


def read(level, x, y, step):
    """Channels of a level of pixels `step` wide at a place of the frame, mixed between the four pixels around it."""
    column = min(max((x + 0.5) / step - 0.5, 0), level.shape[2] - 1)
    row = min(max((y + 0.5) / step - 0.5, 0), level.shape[1] - 1)
    value = 0
    for i in {math.floor(row), math.ceil(row)}:
        for j in {math.floor(column), math.ceil(column)}:
            value = value + (1 - abs(row - i)) * (1 - abs(column - j)) * level[:, i, j]
    return value


def slow_patch(level, x, y, step, half_width):
    """Channels of each pixel by its place in the patch, of those that lie in the frame."""
    side, height, width = range(-half_width, half_width + 1), level.shape[1] * step, level.shape[2] * step
    places = {(dx, dy): (x + step * dx, y + step * dy) for dy in side for dx in side}
    return {
        place: read(level, x, y, step)
        for place, (x, y) in places.items()
        if 0 <= x + 0.5 <= width and 0 <= y + 0.5 <= height
    }


def slow_likeness(one, other):
    both = sorted(one.keys() & other.keys())
    if not both:
        return 0.0
    one, other = (torch.stack([part[place] for place in both], 1) for part in (one, other))
    one, other = (part - part.mean(1, keepdim=True) for part in (one, other))
    spread = (one.square().sum() * other.square().sum()).sqrt() + FLAT * one.numel()
    return float((one * other).sum() / spread)


def slow_shift(level, references, x, y, step, reach, half_width):
    """One shift after the other, each with patches of its own."""
    values = {}
    for dx, dy in itertools.product(range(-reach, reach + 1), repeat=2):
        patch = slow_patch(level, x + step * dx, y + step * dy, step, half_width)
        likeness = sum(slow_likeness(reference, patch) for reference in references) / len(references)
        values[dx, dy] = likeness - PENALTY * step**2 * (dx**2 + dy**2)
    dx, dy = best = max(values, key=values.get)
    found = []
    for axis, place in enumerate(best):
        around = [values.get((dx + d, dy) if axis == 0 else (dx, dy + d)) for d in (-1, 0, 1)]
        fraction = 0.0
        if None not in around:
            low, middle, high = around
            fraction = (low - high) / (2 * (low - 2 * middle + high))
        found.append(step * (place + fraction))
    return (x + found[0], y + found[1]), values[best]


def levels(frame):
    """A frame at a quarter, half and full resolution, with the width of a pixel."""
    half = F.avg_pool2d(frame[None], 2, ceil_mode=True)
    return [(F.avg_pool2d(half, 2, ceil_mode=True)[0], 4), (half[0], 2), (frame, 1)]


def slow_refined(frame, starts, references, radius, half_width):
    """References: per point a list of patches of each level."""
    (quarter, _), (half, _), _ = levels(frame)
    answers, likenesses = [], []
    for number, patches in enumerate(references):
        first, second, last = ([three[level] for three in patches] for level in range(3))
        tries = []
        for start in starts:
            begin = start[number].tolist()
            place, _ = slow_shift(quarter, first, *begin, 4, -(-radius // 4), half_width)
            place, value = slow_shift(half, second, *place, 2, REACH, half_width)
            moved = [c + min(max(d - c, -radius), radius) for c, d in zip(begin, place, strict=True)]
            tries.append((value, *moved))
        value, x, y = tries[0]
        for entry in tries[1:]:
            if entry[0] > value + MARGIN:
                value, x, y = entry
        place, _ = slow_shift(frame, last, x, y, 1, REACH, half_width)
        answers.append(place)
        likenesses.append(value)
    height, width = frame.shape[1:]
    limits = torch.tensor([width - 1.0, height - 1.0], dtype=torch.float64)
    return torch.minimum(torch.tensor(answers, dtype=torch.float64).clamp(min=0), limits), torch.tensor(likenesses)


@pytest.mark.parametrize(('radius', 'half_width', 'size'), [(4, 2, (29, 38)), (3, 3, (16, 24))])
def test_equal_to_the_slow_form(radius, half_width, size, device):
    generator = torch.Generator().manual_seed(radius)
    frames = [smooth(size, seed) for seed in (0, 1)]
    frame = 0.6 * frames[0].roll(2, 2) + 0.4 * frames[1]
    places = [torch.rand(3, 2, generator=generator) * torch.tensor([size[1], size[0]]) - 0.5 for _ in range(2)]
    starts = [places[0] + 2, places[1] - 1]
    pyramids = [pyramid(part.to(device)) for part in frames]
    references = [
        point_patches(part, place.to(device), half_width) for part, place in zip(pyramids, places, strict=True)
    ]
    found, likeness = refined_points(pyramid(frame.to(device)), [s.to(device) for s in starts], references, radius)

    slow = []
    for number in range(3):
        slow.append(
            [
                [slow_patch(level, *place[number].tolist(), step, half_width) for level, step in levels(part.double())]
                for part, place in zip(frames, places, strict=True)
            ]
        )
    expected, expected_likeness = slow_refined(frame.double(), starts, slow, radius, half_width)
    torch.testing.assert_close(found.cpu().double(), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(likeness.cpu().double(), expected_likeness.double(), atol=1e-4, rtol=0)


def test_a_shift_of_a_fraction_of_a_pixel_is_found_whatever_the_brightness():
    size, moved = (64, 80), torch.tensor([3.3, -1.7])
    waves = torch.tensor([[0.35, 0.1, 0.2], [0.12, 0.41, 1.0], [-0.25, 0.3, 2.0], [0.5, -0.2, 0.5]])

    def picture(shift):
        y, x = torch.meshgrid(torch.arange(64.0) - shift[1], torch.arange(80.0) - shift[0], indexing='ij')
        return torch.stack([(a * x + b * y + c).sin() + (b * x - a * y).cos() for a, b, c in waves])

    points = torch.tensor([[30.25, 25.5], [41.0, 33.75], [50.5, 40.1]])
    patches = point_patches(pyramid(picture([0.0, 0.0])), points, 7)
    frame = pyramid(0.5 * picture(moved) + 0.3)
    assert frame.full.shape[1:] == size
    found, likeness = refined_points(frame, [points], [patches], 8)
    torch.testing.assert_close(found, points + moved, atol=0.05, rtol=0)
    assert (likeness > 0.9).all()


def test_what_lies_outside_of_a_frame_tells_nothing():
    """The camera turns: new things come in at one border, others go out at the next, a few pixels from the points."""
    world, (dx, dy) = smooth((80, 100), 5), (3, -2)
    frame, moved = pyramid(world[:, 10:60, 10:80]), pyramid(world[:, 10 - dy : 60 - dy, 10 - dx : 80 - dx])
    points = torch.tensor([[1.5, 20.0], [65.0, 30.0], [30.5, 3.0], [40.0, 48.5], [1.0, 48.0], [64.0, 3.5]])
    found, likeness = refined_points(moved, [points], [point_patches(frame, points, 7)], 8)
    torch.testing.assert_close(found, points + torch.tensor([dx, dy]), atol=0.1, rtol=0)
    assert (likeness > 0.95).all()


def test_what_is_of_one_colour_stays_where_it_was_and_every_answer_is_inside():
    frame = pyramid(torch.zeros(3, 20, 30))
    points = torch.tensor([[4.25, 6.5], [-3.0, 40.0], [29.0, 19.0]])
    found, _ = refined_points(frame, [points], [point_patches(frame, points, 3)], 4)
    assert found.tolist() == [[4.25, 6.5], [0.0, 19.0], [29.0, 19.0]]


def test_the_start_with_the_better_match_wins_and_each_point_is_by_itself(monkeypatch):
    monkeypatch.setattr('stt_mm.ops.refine._TOGETHER', 50 * 13**2)
    frame = pyramid(smooth((48, 64), 3))
    points = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([63.0, 47.0])
    patches = point_patches(frame, points, 4)
    wrong = (points + 20) % 48
    found, _ = refined_points(frame, [wrong, points], [patches], 4)
    torch.testing.assert_close(found, points, atol=0.25, rtol=0)
    alone = [
        refined_points(frame, [wrong[[k]], points[[k]]], [Patches(*(level[[k]] for level in patches))], 4)[0]
        for k in range(0, 300, 37)
    ]
    torch.testing.assert_close(torch.cat(alone), found[::37])
    empty, likeness = refined_points(frame, [points[:0]], [Patches(*(level[:0] for level in patches))], 4)
    assert empty.shape == (0, 2)
    assert likeness.shape == (0,)
