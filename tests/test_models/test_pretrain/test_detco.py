import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from test_models.test_pretrain.detco_ranks import QUEUE, build, train, views

from stt_mm.models.memory_bank import MemoryBank
from stt_mm.models.pretrain import detco
from stt_mm.ops import split_mosaic
from stt_mm.registry import MODELS

TERMS = [f'loss_{kind}_res{stage}' for stage in (2, 3, 4, 5) for kind in ('gg', 'll', 'gl')]
WEIGHTS = dict(res2=0.1, res3=0.4, res4=0.7, res5=1.0)


@pytest.mark.parametrize(('normalize', 'total'), [(False, 73.196), (True, 11.0904)])
def test_equal_logits_cost_log_65537_in_each_of_twelve_terms(normalize, total):
    model = build(normalize=normalize)
    model.queues = torch.nn.ModuleDict({name: MemoryBank(65536, 16) for name in model.queues})
    zeros = dict.fromkeys(('global', 'local'), torch.zeros(2, 4, 16))
    losses = model.losses(zeros, zeros)
    assert list(losses) == TERMS
    scale = 6.6 if normalize else 1
    for name, value in losses.items():
        assert value.item() == pytest.approx(WEIGHTS[name[-4:]] * math.log(65537) / scale, rel=1e-6)
    assert sum(losses.values()).item() == pytest.approx(total, rel=1e-5)


def test_losses_are_those_of_a_loop_over_images():
    """Which query meets which key and which queue, term by term."""
    model = build()
    queries, keys = (
        {kind: F.normalize(torch.randn(3, 4, 16), dim=-1) for kind in ('global', 'local')} for _ in range(2)
    )
    queues = {name: bank.queue.clone() for name, bank in model.queues.items()}
    losses = model.losses(queries, keys)
    for number, stage in enumerate(('res2', 'res3', 'res4', 'res5')):
        for term, asks, answers in (('gg', 'global', 'global'), ('ll', 'local', 'local'), ('gl', 'local', 'global')):
            expected = 0
            for image in range(3):
                query = queries[asks][image, number]
                candidates = [keys[answers][image, number], *queues[f'{answers}_{stage}'].T]
                logits = [float(query @ candidate) / 0.2 for candidate in candidates]
                expected += math.log(sum(map(math.exp, logits))) - logits[0]
            assert losses[f'loss_{term}_{stage}'].item() == pytest.approx(WEIGHTS[stage] * expected / 3, rel=1e-5)


def test_there_are_eight_heads_and_eight_queues_that_share_nothing():
    model = build()
    assert list(model.queues) == [f'{kind}_res{stage}' for kind in ('global', 'local') for stage in (2, 3, 4, 5)]
    shapes = [
        [tuple(layer.weight.shape) for layer in (head.mlp[0], head.mlp[2])]
        for heads in (model.neck.global_mlps, model.neck.local_mlps)
        for head in heads
    ]
    assert shapes == [[(c, n * c), (16, c)] for n in (1, 9) for c in (64, 128, 256, 512)]
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    assert len(set(pointers)) == len(pointers)
    model(views(2), None, mode='loss')
    assert len({bank.queue.sum().item() for bank in model.queues.values()}) == 8


def test_everything_learns_but_the_key_encoder():
    model = build(norm_eval=False)
    losses = model(views(3), None, mode='loss')
    assert list(losses) == TERMS
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith('encoder_k.'):
            assert not parameter.requires_grad
            assert parameter.grad is None
        else:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
    assert len(list(model.encoder_k.parameters())) == sum(
        name.startswith(('backbone.', 'neck.')) for name, _ in model.named_parameters()
    )


@pytest.mark.parametrize(
    ('term', 'reached'),
    [
        ('gg_res3', {'backbone.conv1', 'backbone.layer2', 'neck.global_mlps.1'}),
        ('ll_res5', {'backbone.conv1', 'backbone.layer2', 'backbone.layer4', 'neck.local_mlps.3'}),
        ('gl_res3', {'backbone.conv1', 'backbone.layer2', 'neck.local_mlps.1'}),
    ],
)
def test_a_term_reaches_the_stages_below_it_and_its_own_head(term, reached):
    model = build()
    model(views(2), None, mode='loss')[f'loss_{term}'].backward()
    touched = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    parts = (
        'backbone.conv1',
        'backbone.layer2',
        'backbone.layer4',
        *(f'neck.{kind}_mlps.{number}' for kind in ('global', 'local') for number in range(4)),
    )
    assert {part for part in parts if any(name.startswith(f'{part}.') for name in touched)} == reached


def test_the_key_encoder_is_a_moving_average_and_keys_have_length_one():
    model = build(norm_eval=False, momentum=0.25)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = None
    for step in range(3):
        query = [parameter.detach().clone() for part in (model.backbone, model.neck) for parameter in part.parameters()]
        # The first time the key encoder is a copy.
        expected = (
            query if expected is None else [0.75 * key + 0.25 * new for key, new in zip(expected, query, strict=True)]
        )
        sum(model(views(3, step), None, mode='loss').values()).backward()
        for key, value in zip(model.encoder_k.parameters(), expected, strict=True):
            torch.testing.assert_close(key, value)
        optimizer.step()
    keys = model.keys(dict(zip(('global', 'local'), views(3)[1::2], strict=True)))
    for found in keys.values():
        assert found.shape == (3, 4, 16)
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(3, 4))
        assert not found.requires_grad
    for bank in model.queues.values():
        torch.testing.assert_close(bank.queue.norm(dim=0), torch.ones(QUEUE))
        assert bank.pointer.item() == 9


def rows_as_from_single_images(model):
    """Whether the keys of a batch are, row by row, those of its images alone."""
    found = model.keys(dict(zip(('global', 'local'), views(5)[1::2], strict=True)))
    backbone, neck = model.encoder_k.module
    with torch.no_grad():
        for image in range(5):
            globals_, mosaics = (view[image : image + 1] for view in views(5)[1::2])
            cells = torch.cat(
                [
                    mosaics[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
                    for row in range(3)
                    for column in range(3)
                ]
            )
            alone = {
                'global': [
                    mlp.mlp(feature.mean((2, 3)))
                    for mlp, feature in zip(neck.global_mlps, backbone(globals_), strict=True)
                ],
                'local': [
                    mlp.mlp(feature.mean((2, 3)).reshape(1, -1))
                    for mlp, feature in zip(neck.local_mlps, backbone(cells), strict=True)
                ],
            }
            for kind, embeddings in alone.items():
                expected = F.normalize(torch.cat(embeddings), dim=-1)
                if not torch.allclose(found[kind][image], expected, atol=1e-5):
                    return False
    return True


def test_keys_are_put_back_in_the_order_of_their_images(monkeypatch):
    model = build()
    assert rows_as_from_single_images(model)
    monkeypatch.setattr(detco, 'batch_unshuffle_ddp', lambda keys, back: keys)
    assert not rows_as_from_single_images(model)


def test_the_order_of_the_patches_matters():
    model = build()
    mosaic = views(1)[2]
    turned = mosaic.roll(32, -1)
    assert sorted(split_mosaic(turned).sum((1, 2, 3)).tolist()) == pytest.approx(
        sorted(split_mosaic(mosaic).sum((1, 2, 3)).tolist()), abs=1e-3
    )
    with torch.no_grad():
        one, two = (model.embed(model.backbone, model.neck, view, 'local') for view in (mosaic, turned))
    assert (one - two).abs().max() > 1e-3


def test_the_same_weights_in_bfloat16_give_losses_in_float32():
    model = build()
    exact = model(views(3), None, mode='loss')
    other = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = other(views(3), None, mode='loss')
    for name, value in rough.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[name].item(), rel=0.05)


def test_embeddings_are_compared_in_float32(monkeypatch):
    """Of equal embeddings autocast makes equal losses."""
    kinds = {kind: F.normalize(torch.randn(3, 4, 16), dim=-1) for kind in ('global', 'local')}
    monkeypatch.setattr(detco.DetCo, 'embed', lambda self, backbone, neck, view, kind: kinds[kind])
    found = []
    for enabled in (True, False):
        model = build()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            found.append(model(views(3), None, mode='loss'))
    assert found[0] == found[1]


@pytest.mark.parametrize('kind', ['global', 'local'])
def test_embeddings_have_length_one_in_float32(kind, monkeypatch):
    model, rough = build(), torch.randn(2, 4, 16).bfloat16()
    monkeypatch.setattr(model.neck, f'project_{kind}', lambda maps: rough)
    found = model.embed(lambda frames: frames, model.neck, views(2)[kind == 'local' and 2], kind)
    assert torch.equal(found, F.normalize(rough.float(), dim=-1))


def test_what_does_not_fit_is_refused():
    model = build()
    with pytest.raises(ValueError, match=r'two global and two local ones, got 2\. Use'):
        model(views(2)[:2], None, mode='loss')
    with pytest.raises(ValueError, match='got Tensor'):
        model(views(2)[0], None, mode='loss')
    with pytest.raises(ValueError, match='End the pipeline of the local views with JigsawMosaic'):
        model([*views(2)[:2], *views(2)[:2]], None, mode='loss')
    with pytest.raises(ValueError, match=r'17 keys of each of 1 process\(es\) do not fit a queue of 16'):
        model.losses(*[dict.fromkeys(('global', 'local'), torch.ones(17, 4, 16))] * 2)
    with pytest.raises(ValueError, match="same number of stages everywhere, got {'backbone': 4, 'neck': 4, 'stage_w"):
        build(stage_weights=(1, 1))
    with pytest.raises(ValueError, match=r'built for stages of \(64, 128, 256, 512\) channels, the backbone returned'):
        model.neck.project_global([torch.zeros(1, 3, 2, 2)])
    with pytest.raises(ValueError, match='Expected 9 patches for every image, got 4 in all'):
        model.neck.project_local([torch.zeros(4, channels, 1, 1) for channels in (64, 128, 256, 512)])
    with pytest.raises(ValueError, match=r'one width for each of the 2 stages, got \(5,\)'):
        MODELS.build(dict(type='DetCoNeck', in_channels=(3, 4), hid_channels=(5,)))


@pytest.mark.parametrize(('size', 'fits'), [((6, 4), True), ((6, 5), False), ((5, 4), False)])
def test_a_mosaic_is_cut_row_by_row(size, fits):
    mosaic = torch.randn(2, 3, *size)
    if not fits:
        with pytest.raises(ValueError, match=f'multiples of 2, got {size[0]} x {size[1]}'):
            split_mosaic(mosaic, 2)
        return
    cells = [image[:, y : y + 3, x : x + 2] for image in mosaic for y in (0, 3) for x in (0, 2)]
    assert torch.equal(split_mosaic(mosaic, 2), torch.stack(cells))


@pytest.mark.slow
def test_two_processes_hold_the_queues_of_one_with_the_joined_batch(tmp_path):
    """Three steps of SGD, 18 keys into queues of 16, BatchNorm with fixed statistics."""
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]), OMP_NUM_THREADS='1')
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc-per-node=2',
        str(Path(__file__).with_name('detco_ranks.py')),
        str(tmp_path / 'rank'),
    ]
    done = subprocess.run(
        command,
        env=env,
        cwd=Path(__file__).parents[3],
        timeout=300,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    first, second = (torch.load(tmp_path / f'rank.{rank}', weights_only=True) for rank in (0, 1))
    for name, value in first['state'].items():
        assert torch.equal(value, second['state'][name]), name
    assert first['sums'] != second['sums']

    one = build()
    before = {name: bank.queue.clone() for name, bank in one.queues.items()}
    sums = train(one)
    torch.testing.assert_close(torch.tensor([first['sums'], second['sums']]).mean(0), torch.tensor(sums))
    for name, bank in one.queues.items():
        torch.testing.assert_close(first['state'][f'queues.{name}.queue'], bank.queue, rtol=1e-4, atol=1e-5)
        assert first['state'][f'queues.{name}.pointer'].item() == 2
        assert not torch.isclose(bank.queue, before[name]).all(0).any()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(first['state'][name], value, rtol=1e-3, atol=1e-4)
    for rank in (first, second):
        for kind, keys in rank['keys'].items():
            torch.testing.assert_close(keys, rank['expected'][kind], rtol=1e-4, atol=1e-5)
            assert (keys - keys.flip(0)).abs().max() > 1e-3


def test_the_options_of_a_self_supervisor_are_handed_on():
    given = build(
        init_cfg=dict(type='Normal'),
        data_preprocessor=dict(type='mmpretrain.SelfSupDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6]),
    )
    assert given.init_cfg == dict(type='Normal')
    assert given.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    usual = build(data_preprocessor=None)
    assert usual.init_cfg is None
    assert type(usual.data_preprocessor).__name__ == 'SelfSupDataPreprocessor'
    assert usual.penalty is None


def test_all_parts_are_initialised_and_a_start_elsewhere_is_told(capfd):
    model = build()
    model.penalty = SimpleNamespace(checkpoint='f.pth', reference={'bn1.bias': torch.full((64,), 0.5)})
    model.init_weights()
    assert model.backbone.is_init
    assert model.neck.is_init
    assert 'f.pth: 1 of 1 parameters of the backbone differ from it at the start, by up to 0.5.' in (
        capfd.readouterr().out
    )


@pytest.mark.parametrize('views', [(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, 4), []])
def test_four_views_in_a_list(views):
    with pytest.raises(ValueError, match='expects a list of four views, .* got'):
        build()(views if views != (1, 2, 3) else list(views), None, mode='loss')
