import math

import torch

from stt_mm.ops import hidden_points, way_back

NAN = math.nan


def slow_way_back(feature, points, origin, size):
    """One point after the other: features mixed between the four cells around it, and the best of all products."""
    rows, columns = feature.shape[1:]
    answers = []
    for x, y in points.tolist():
        column = min(max((x + 0.5) * columns / size[1] - 0.5, 0), columns - 1)
        row = min(max((y + 0.5) * rows / size[0] - 0.5, 0), rows - 1)
        query = torch.zeros(len(feature), dtype=torch.float64)
        for i in {math.floor(row), math.ceil(row)}:
            for j in {math.floor(column), math.ceil(column)}:
                query += (1 - abs(row - i)) * (1 - abs(column - j)) * feature[:, i, j].double()
        scores = {}
        for i in range(origin.shape[1]):
            for j in range(origin.shape[2]):
                scores[i, j] = float(query @ origin[:, i, j].double())
        i, j = max(scores, key=scores.get)
        answers.append([(j + 0.5) * size[1] / origin.shape[2] - 0.5, (i + 0.5) * size[0] / origin.shape[1] - 0.5])
    return torch.tensor(answers)


def test_the_way_back_ends_at_the_best_match(device):
    generator = torch.Generator().manual_seed(0)
    feature, origin = (torch.randn(6, *grid, generator=generator) for grid in ((5, 7), (4, 9)))
    points = torch.rand(40, 2, generator=generator) * torch.tensor([70.0, 40.0]) - 3
    found = way_back(feature.to(device), points.to(device), origin.to(device), (37, 62))
    torch.testing.assert_close(found.cpu(), slow_way_back(feature, points, origin, (37, 62)))


def test_the_limit_counts_in_pixels_of_the_input_and_belongs_to_what_is_seen():
    """Every cell has a channel of its own, so that the way back from a cell's centre ends at that centre."""
    cells = torch.eye(12).reshape(12, 3, 4)
    size, input_size = (60, 160), (24, 32)  # cells of 8 x 8 in the input, of 40 x 20 (width x height) in the frame
    centre = torch.tensor([[59.5, 29.5]])  # of the cell in the middle row, second column

    def hidden(given, limit, found=centre):
        return hidden_points(cells, found, cells, torch.tensor([given]), size, input_size, limit).item()

    # 15 pixels of the frame to the right are 3 of the input; 5 up are 2.
    assert hidden([74.5, 29.5], 2.99)
    assert not hidden([74.5, 29.5], 3.0)
    assert hidden([59.5, 24.5], 1.99)
    assert not hidden([59.5, 24.5], 2.0)
    assert hidden([NAN, NAN], 1000.0)
    assert hidden([59.5, 29.5], 1000.0, torch.tensor([[-1.0, -1.0]]))
    assert not hidden([59.5, 29.5], 0.0)


def test_each_point_is_looked_at_by_itself():
    generator = torch.Generator().manual_seed(1)
    feature, origin = torch.randn(2, 8, 6, 6, generator=generator)
    found, given = torch.rand(2, 30, 2, generator=generator) * 48
    together = hidden_points(feature, found, origin, given, (48, 48), (48, 48), 20.0)
    alone = [hidden_points(feature, found[[k]], origin, given[[k]], (48, 48), (48, 48), 20.0).item() for k in range(30)]
    assert together.tolist() == alone
    assert 0 < together.sum() < 30
