import math
from types import SimpleNamespace

import pytest
import torch
from continual_data import check_trains_and_resumes, small
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from tiny_data import make_youtube_vos
from torch.testing import assert_close

from stt_mm.engine import load_config
from stt_mm.ops import draw_crops, round_trips, walk_loss
from stt_mm.registry import MODELS
from stt_mm.utils import generator
from stt_mm.utils.weights import load_backbone

init_default_scope('stt_mm')


def build(**options):
    torch.manual_seed(3)
    model = MODELS.build(dict(load_config('crw_r18_ytv').model, **options))
    model.init_weights()
    return model


def clip(batch=2, length=3, size=64):
    return torch.randint(0, 256, (batch, length, 3, size, size), dtype=torch.uint8)


def losses_of(model, frames):
    return model(**model.data_preprocessor(dict(inputs=frames), training=True), mode='loss')


def coded(size=256, frames=2):
    """Frames whose colours are row, column and number of the frame."""
    rows, columns = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing='ij')
    return torch.stack([torch.stack([rows, columns, torch.full_like(rows, t)]) for t in range(frames)])


def with_nodes(nodes, **options):
    """The loss of a model whose nodes are ``[B, T, 49, D]``."""
    model = build(**options)
    model.nodes = lambda patches: nodes.flatten(0, 2)
    return losses_of(model, clip(*nodes.shape[:2]))


def test_patches_are_where_they_should_be():
    patches = build(crop_area=(1.0, 1.0)).patches(coded(), generator(0))
    assert patches.shape == (2, 49, 3, 64, 64)
    for number in range(49):
        top, left = 32 * (number // 7), 32 * (number % 7)
        expected = coded()[:, :, top : top + 64, left : left + 64]
        assert_close(patches[:, number], expected, rtol=0, atol=1e-3)


def test_each_patch_of_each_frame_is_cropped_on_its_own():
    """The slopes of row and column in a patch are height and width of the crop."""
    patches = build().patches(coded(), generator(0)).double()
    inner = patches[..., 8:56, 8:56]
    assert_close(inner[:, :, 2, 0, 0], torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, 49))
    height = (inner[:, :, 0, -1, 0] - inner[:, :, 0, 0, 0]) / 47
    width = (inner[:, :, 1, 0, -1] - inner[:, :, 1, 0, 0]) / 47
    assert (height * width).min() > 0.7 - 1e-3
    assert (height * width).max() < 0.9 + 1e-3
    assert (width / height).min() > 3 / 4 - 1e-3
    assert (width / height).max() < 4 / 3 + 1e-3
    assert len({round(value, 4) for value in height.flatten().tolist()}) > 90
    top = inner[:, :, 0, 0, 0] + 0.5 - 8.5 * height - 32 * torch.arange(7).repeat_interleave(7)
    left = inner[:, :, 1, 0, 0] + 0.5 - 8.5 * width - 32 * torch.arange(7).repeat(7)
    for start, length in ((top, 64 * height), (left, 64 * width)):
        assert start.min() >= -1e-3
        assert (start + length).max() <= 64 + 1e-3


def test_crops_are_uniform_where_they_fit():
    crops = draw_crops(generator(1), 20000, (0.7, 0.7))
    assert_close(crops[:, 2] * crops[:, 3], torch.full((20000,), 0.7))
    # Log-uniform in 3/4 .. 4/3, all of which fits here; 20,000 draws have a standard error of 0.001.
    aspects = (crops[:, 3] / crops[:, 2]).log()
    assert aspects.mean().item() == pytest.approx(0, abs=0.005)
    assert aspects.std().item() == pytest.approx(2 * math.log(4 / 3) / 12**0.5, abs=0.005)
    free = crops[:, :2] / (1 - crops[:, 2:])
    assert free.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    assert free.min() >= 0
    assert free.max() <= 1
    assert draw_crops(generator(1), 3, (1.0, 1.0)).tolist() == [[0, 0, 1, 1]] * 3


def test_the_loss_is_that_of_the_walks_of_the_nodes():
    nodes = torch.nn.functional.normalize(torch.randn(2, 4, 49, 6), dim=-1)
    losses = with_nodes(nodes, edge_dropout=0.0)
    assert set(losses) == {'loss_walk', 'returned'}
    trips = round_trips(nodes, 0.05)
    assert_close(losses['loss_walk'], walk_loss(trips))
    hits = sum(int(trips[-1, b, n].argmax()) == n for b in range(2) for n in range(49))
    assert losses['returned'].item() == pytest.approx(hits / 98)
    assert_close(
        with_nodes(nodes, edge_dropout=0.0, one_step=True)['loss_walk'],
        walk_loss(round_trips(nodes, 0.05, one_step=True)),
    )
    assert with_nodes(nodes)['loss_walk'] != losses['loss_walk']


def test_known_losses():
    flat = with_nodes(torch.ones(1, 4, 49, 4) / 2, edge_dropout=0.0)
    assert flat['loss_walk'].item() == pytest.approx(math.log(49), abs=1e-5)
    still = with_nodes(torch.eye(49).expand(1, 4, -1, -1), edge_dropout=0.0)
    assert still['loss_walk'].item() == pytest.approx(0, abs=2e-6)
    assert still['returned'] == 1


def test_nodes_have_length_1_and_know_nothing_of_their_place():
    model = build(crop_area=(1.0, 1.0)).eval()
    tile = torch.rand(3, 32, 32).repeat(1, 8, 8)[None]
    nodes = model.nodes(model.patches(tile, generator(0))[0])
    assert nodes.shape == (49, 128)
    assert_close(nodes.norm(dim=1), torch.ones(49))
    assert_close(nodes, nodes[:1].expand(49, -1), rtol=0, atol=1e-4)


def test_a_node_is_the_projected_mean_of_the_last_map():
    model = build().eval()
    patches = torch.rand(2, 3, 64, 64)
    mean = model.backbone(patches)[-1].flatten(2).mean(2)
    expected = mean @ model.projection.weight.T + model.projection.bias
    assert_close(model.nodes(patches), expected / expected.norm(dim=1, keepdim=True))


def test_nodes_are_normalised_in_float32(monkeypatch):
    model = build().eval()
    rough = torch.randn(2, 128).bfloat16()
    monkeypatch.setattr(model.projection, 'forward', lambda mean: rough)
    nodes = model.nodes(torch.rand(2, 3, 64, 64))
    assert nodes.dtype == torch.float32
    assert torch.equal(nodes, torch.nn.functional.normalize(rough.float(), dim=1))


def test_crops_and_dropped_edges_are_functions_of_seed_and_iteration():
    model, frames = build().eval(), clip()
    hub = MessageHub.get_current_instance()
    found = {}
    for seed, iteration in ((0, 0), (0, 1), (1, 0), (0, 0)):
        hub.update_info('seed', seed)
        hub.update_info('iter', iteration)
        loss = losses_of(model, frames)['loss_walk'].item()
        assert found.setdefault((seed, iteration), loss) == loss
    assert len(set(found.values())) == 3


@pytest.mark.parametrize('info', [dict(seed=5, iter=7), {}, dict(seed=None)])
def test_the_draws_are_those_of_a_stream_of_their_own(info, monkeypatch):
    """Of seed, iteration, rank and 0; edges are dropped by what is drawn after the crops."""
    from stt_mm.models.correspondence import crw

    hub = SimpleNamespace(get_current_instance=lambda: SimpleNamespace(runtime_info=info))
    monkeypatch.setattr(crw, 'MessageHub', hub)
    monkeypatch.setattr(crw, 'get_rank', lambda: 3)
    model, used = build(), []
    frames = model.data_preprocessor(dict(inputs=clip()), training=True)['inputs']
    patches, walk = model.patches, crw.round_trips
    monkeypatch.setattr(model, 'patches', lambda frames, rng: used.append(patches(frames, rng)) or used[0])
    monkeypatch.setattr(crw, 'round_trips', lambda *args: used.append(args[4].initial_seed()) or walk(*args))
    model.loss(frames)
    rng = generator(info.get('seed') or 0, info.get('iter', 0), 3, 0)
    expected = patches(frames['student'].flatten(0, 1), rng)
    assert torch.equal(used[0], expected)
    assert used[1] == int(rng.integers(2**31))


@pytest.mark.parametrize('change', [dict(grid=2), dict(crop_area=(0.5, 0.5)), dict(edge_dropout=0)])
def test_settings_at_their_bounds(change):
    model = build(**change)
    assert {name: getattr(model, name) for name in change} == change


def test_every_trained_parameter_has_a_gradient():
    model = build()
    losses_of(model, clip())['loss_walk'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # The last BatchNorm of each block starts at 0 and stops gradients into the block's convolutions.
    for part in (model.backbone.conv1, model.backbone.layer4[1].bn2, model.projection):
        assert part.weight.grad.abs().sum() > 0


def test_walks_are_counted_in_float32_under_autocast():
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(build(), clip())
    assert losses['loss_walk'].dtype == torch.float32
    assert losses['loss_walk'].isfinite()


def test_config_trains_and_resumes_bit_by_bit(tmp_path, monkeypatch):
    make_youtube_vos(tmp_path / 'data' / 'YouTubeVOS', num_videos=4, num_frames=5)
    monkeypatch.setenv('STT_DATA', str(tmp_path / 'data'))
    check_trains_and_resumes('crw_r18_ytv', tmp_path)
    last = torch.load(tmp_path / 'straight' / 'iter_1.pth', weights_only=True)['state_dict']
    assert last['projection.weight'].shape == (128, 512)
    evaluated = MODELS.build(load_config('eval/davis_crw_r18').model).eval()
    report = load_backbone(evaluated.backbone, tmp_path / 'straight' / 'iter_1.pth')
    assert report.ratio == 1
    assert not report.missing
    assert not report.unexpected
    trained = MODELS.build(small('crw_r18_ytv').model).eval()
    trained.load_state_dict(last)
    frames = torch.rand(1, 3, 72, 96)
    assert torch.equal(evaluated(frames), trained(frames))
    assert evaluated.protocol == trained.protocol


def test_milestones_are_epochs_of_five_clips_per_video():
    cfg = load_config('crw_r18_ytv')
    epoch = math.ceil(3471 * 5 / 20)
    assert cfg.param_scheduler[0].milestones == [20 * epoch, 30 * epoch, 40 * epoch]
    assert cfg.train_cfg.max_iters == 25 * epoch
    assert len(cfg.param_scheduler) == 1


@pytest.mark.parametrize(
    ('length', 'size', 'message'),
    [
        (3, 48, 'multiples of 8 and at least 64, got 48 x 48'),
        (3, 60, 'multiples of 8 and at least 64, got 60 x 60'),
        (1, 64, '2 frames or more, got 1'),
    ],
)
def test_impossible_clips_are_refused_with_a_reason(length, size, message):
    with pytest.raises(ValueError, match=message):
        losses_of(build(), clip(1, length, size))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(grid=1), 'grid must be 2 or more'),
        (dict(crop_area=(0.9, 0.7)), 'crop_area'),
        (dict(crop_area=(0, 0.7)), 'crop_area'),
        (dict(crop_area=(0.7, 1.1)), 'crop_area'),
        (dict(temperature=0.0), 'temperature must be positive'),
        (dict(edge_dropout=-0.1), 'edge_dropout must be 0 or larger'),
        (dict(edge_dropout=1.0), 'edge_dropout must be below 1, got 1.0'),
        (dict(data_preprocessor=dict(type='ClipDataPreprocessor')), 'trained on lab, the protocol crw_davis'),
    ],
)
def test_impossible_models_are_refused_with_a_reason(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_a_box_is_drawn_ten_times_as_torchvision_does():
    """All at once, area, aspect and then the place of each, so that the numbers of a stream do not move."""
    used, expected = generator(3), generator(3)
    draw_crops(used, 7, (0.7, 0.9))
    expected.uniform(size=2 * 10 * 7 + 2 * 7)
    assert used.random() == expected.random()


def test_the_first_box_that_fits_is_taken():
    rng = generator(5)
    areas, aspects = rng.uniform(0.9, 1.0, (10, 50)), rng.uniform(math.log(3 / 4), math.log(4 / 3), (10, 50))
    places = rng.uniform(size=(2, 50))
    found, whole = draw_crops(generator(5), 50, (0.9, 1.0)).tolist(), 0
    for number, box in enumerate(found):
        sides = [
            (math.sqrt(area / math.exp(aspect)), math.sqrt(area * math.exp(aspect)))
            for area, aspect in zip(areas[:, number], aspects[:, number], strict=True)
        ]
        height, width = next(((h, w) for h, w in sides if max(h, w) <= 1), (1, 1))
        whole += (height, width) == (1, 1)
        top, left = (place * (1 - side) for place, side in zip(places[:, number], (height, width), strict=True))
        assert box == pytest.approx([top, left, height, width], abs=1e-6)
    assert 0 < whole < 25
