"""A network that is evaluated in another geometry than it was trained in is refused, with both named."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
from config_pages import pages, parsed
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from stt_mm.apis import VideoPropagator
from stt_mm.engine import load_config
from stt_mm.engine.hooks import CheckpointHook
from stt_mm.models import (
    CorrespondenceResNet,
    LateFusion,
    MMPretrainBackbone,
    TimmBackbone,
    load_for_evaluation,
)
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import CheckpointError
from stt_mm.utils.geometry import check_geometry
from stt_mm.utils.weights import load_backbone

init_default_scope('stt_mm')
ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'


def build(name, **changes):
    """The model of a config, without the files that it starts from."""
    cfg = load_config(name)
    cfg.merge_from_dict(changes)
    for part in (cfg.model.backbone, (cfg.model.get('teacher') or {}).get('backbone')):
        if part is not None:
            part.pop('init_cfg', None)
    cfg.model.pop('penalty', None)
    return MODELS.build(cfg.model)


def save(path, model, **meta):
    torch.save(
        dict(
            state_dict={f'backbone.{name}': value for name, value in model.backbone.state_dict().items()},
            meta=dict(geometry=model.geometry, **meta),
        ),
        path,
    )
    return path


@pytest.fixture(scope='module')
def student(tmp_path_factory):
    """A file as training at stride 4 in the second geometry writes it."""
    return save(tmp_path_factory.mktemp('student') / 'iter_9.pth', build('stt_r18_ytv_s4_128'))


def test_the_record_is_that_of_the_network():
    assert build('stt_r18_ytv').geometry == dict(
        network='ResNet',
        depth=18,
        pool='none',
        strides=[1, 2, 2, 4],
        widths=[64, 128, 256, 512],
        padding='zeros',
        stage='res4',
        color='lab',
    )
    assert build('stt_r50_ytv_temporal', **{'model.backbone.geometry': 'stride4'}).geometry == dict(
        network='ResNet',
        depth=50,
        pool='avg',
        strides=[1, 1, 1],
        widths=[256, 512, 1024],
        padding='zeros',
        stage='res4',
        color='lab',
    )
    assert build('crw_r18_ytv').geometry['padding'] == 'reflect'
    assert build('eval/davis_color').geometry is None


def test_equal_grids_do_not_hide_another_geometry(student):
    used = build('eval/davis_r18_s4')
    before = used.backbone.conv1.weight.clone()
    with pytest.raises(
        CheckpointError,
        match=r'iter_9\.pth .*pool none, strides 1 1 2 8, .*at hand has .*pool avg, '
        r'strides 1 1 1, .*differ in pool, strides\. .*--allow-other-geometry',
    ):
        load_for_evaluation(used, student)
    assert torch.equal(used.backbone.conv1.weight, before)
    assert load_for_evaluation(build('eval/davis_r18_s4_128'), student).complete
    same = build('stt_r18_ytv_s4_128')
    assert load_for_evaluation(same, student).complete
    assert 'trained_geometry' not in same.protocol


def test_another_geometry_can_be_allowed_and_is_said(student, caplog):
    model = build('eval/davis_r18_s4')
    assert 'trained_geometry' not in model.protocol
    report = load_for_evaluation(model, student, allow_other_geometry=True)
    assert model.protocol['trained_geometry'] == [report.geometry]
    assert report.complete
    assert report.geometry['strides'] == [1, 1, 2, 8]
    assert 'They differ in pool, strides' in caplog.text


@pytest.mark.parametrize(
    ('changes', 'differing'),
    [
        ({'model.backbone.geometry': ('max', (1, 1, 2))}, 'pool'),
        ({'model.backbone.geometry': ('none', (1, 1, 4))}, 'strides'),
        ({'model.backbone.geometry': ('none', (1, 1, 2, 2))}, None),
        ({'model.backbone.padding_mode': 'reflect'}, 'padding'),
        ({'model.propagator.protocol.color': 'rgb'}, 'color'),
        ({'model.feature_stage': 'res3', 'model.backbone.out_indices': (1, 2)}, 'stage'),
        ({'model.backbone.depth': 50}, 'depth, widths'),
    ],
)
def test_what_counts_up_to_the_stage_that_is_evaluated(changes, differing, student):
    model = build('eval/davis_r18_s4_128', **changes)
    if differing is None:
        load_for_evaluation(model, student)
    else:
        with pytest.raises(CheckpointError, match=f'differ in {differing}\\.'):
            load_for_evaluation(model, student)


def test_projection_and_position_are_part_of_the_record(tmp_path):
    """Sines have no parameters: nothing but the record tells that a network was trained with them."""

    def model(**changes):
        backbone = dict(
            dict(
                type='CorrespondenceResNet',
                depth=18,
                geometry='stride4_mast',
                widths=(64, 128, 256, 256),
                projection=64,
                out_indices=(3,),
                position=dict(type='PositionMap', kind='sin2d'),
            ),
            **changes.pop('backbone', {}),
        )
        propagator = dict(type='LabelPropagator', protocol='stt_davis_s4')
        settings = dict(dict(feature_stage='projection'), **changes)
        return MODELS.build(dict(type='Correspondence', backbone=backbone, propagator=propagator, **settings))

    trained = model()
    assert trained.geometry == dict(
        network='ResNet',
        depth=18,
        pool='none',
        strides=[1, 2, 1, 1],
        widths=[64, 128, 256, 256],
        padding='zeros',
        projection=64,
        position='sin2d 128 x 128',
        stage='projection',
        color='lab',
    )
    path = save(tmp_path / 'file.pth', trained)
    assert load_for_evaluation(model(), path).ratio == 1
    for differing, changes in {
        'position': dict(backbone=dict(position=None)),
        'position ': dict(backbone=dict(position=dict(type='PositionMap', kind='sin2d', size=(64, 128)))),
        'strides': dict(backbone=dict(geometry='stride4_maxpool')),
        'projection': dict(backbone=dict(projection=32)),
        'widths': dict(backbone=dict(widths=(64, 128, 256, 512))),
        'stage': dict(feature_stage='res5'),
    }.items():
        with pytest.raises(CheckpointError, match=f'differ in [^.]*{differing.strip()}'):
            load_for_evaluation(model(**changes), path)
    # What comes after the stage that is evaluated does not matter.
    path = save(tmp_path / 'trunk.pth', model(feature_stage='res5'))
    assert load_for_evaluation(model(feature_stage='res5', backbone=dict(projection=None)), path).ratio == 1


def test_files_that_say_nothing_are_taken_as_before(student, tmp_path):
    content = torch.load(student)
    del content['meta']['geometry']
    torch.save(content, tmp_path / 'file.pth')
    load_for_evaluation(build('eval/davis_r18_s4'), tmp_path / 'file.pth')
    content['meta'] = dict(geometry='foreign')
    torch.save(content, tmp_path / 'file.pth')
    load_for_evaluation(build('eval/davis_r18_s4'), tmp_path / 'file.pth')


def test_a_training_may_start_from_any_geometry(student):
    network = CorrespondenceResNet(18, init_cfg=dict(type='Pretrained', checkpoint=str(student)))
    network.init_weights()
    assert network.report.complete


def test_an_evaluation_that_starts_from_init_cfg_is_compared_too(student):
    """As tools/test.py CONFIG none does, and late fusion, whose networks have no other way."""
    model = build('eval/davis_r18_s4')
    cfg = Config.fromfile(CONFIGS / 'eval' / 'davis_r18_s4.py')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(student))
    model = MODELS.build(cfg.model)
    with pytest.raises(CheckpointError, match='differ in pool, strides'):
        load_for_evaluation(model, None)
    load_for_evaluation(model, None, allow_other_geometry=True)
    assert len(model.protocol['trained_geometry']) == 1
    right, wrong = (
        dict(
            type='CorrespondenceResNet',
            depth=18,
            geometry=(pool, (1, 1, 2)),
            out_indices=(2,),
            init_cfg=dict(type='Pretrained', checkpoint=str(student)),
        )
        for pool in ('none', 'avg')
    )
    propagator = dict(type='LabelPropagator', protocol='stt_davis_s4')
    load_for_evaluation(LateFusion([right, right], propagator), None)
    with pytest.raises(CheckpointError, match='differ in pool'):
        load_for_evaluation(LateFusion([right, wrong], propagator), None)
    with pytest.raises(CheckpointError, match='differ in color'):
        load_for_evaluation(LateFusion([right, right], propagator, colors=('lab', 'rgb')), None)


def test_the_propagator_of_own_videos_refuses_it(student):
    with pytest.raises(CheckpointError):
        VideoPropagator('eval/davis_r18_s4', student, device='cpu')
    VideoPropagator('eval/davis_r18_s4', student, device='cpu', allow_other_geometry=True)


def test_networks_of_other_libraries(tmp_path):
    pytest.importorskip('timm')

    def model(**options):
        backbone = dict(type='TimmBackbone', model_name='resnet10t', stages=['layer3'], options=options)
        return MODELS.build(
            dict(
                type='Correspondence',
                backbone=backbone,
                feature_stage=None,
                propagator=dict(type='LabelPropagator', protocol='stt_davis_s8'),
            )
        )

    save(tmp_path / 'timm.pth', model(output_stride=8))
    load_for_evaluation(model(output_stride=8), tmp_path / 'timm.pth')
    with pytest.raises(CheckpointError, match='differ in options'):
        load_for_evaluation(model(), tmp_path / 'timm.pth')
    assert TimmBackbone('vit_tiny_patch16_224', options=dict(depth=1)).geometry()['positions'] == 'timm'
    one, two = (
        MMPretrainBackbone(dict(type='ResNet', depth=18, strides=strides, out_indices=(2,))).geometry()
        for strides in ((1, 2, 2, 2), (1, 2, 1, 1))
    )
    assert one['network'] == two['network'] == 'ResNet'
    with pytest.raises(CheckpointError, match='differ in settings'):
        check_geometry('file.pth', one, two)


def test_training_writes_the_record(tmp_path):
    """In every file that the hook writes, as plain data."""
    model = build('stt_r18_ytv')

    class Stub(Runner):
        def __init__(self):
            self.model, self.cfg = torch.nn.parallel.DataParallel(model), Config()

    for runner in (Stub(), type('Bare', (), dict(model=model, cfg=Config()))()):
        checkpoint = dict(meta=dict(iter=3), state_dict={})
        CheckpointHook().before_save_checkpoint(runner, checkpoint)
        torch.save(checkpoint, tmp_path / 'file.pth')
        assert torch.load(tmp_path / 'file.pth', weights_only=True)['meta']['geometry'] == model.geometry


PAIRS = re.findall(
    r'`(configs/[\w/]+\.py)` \| `python tools/test\.py (configs/\S+) work_dirs[^`]*?(--cfg-options [^`]*)?`',
    '\n'.join(pages().values()),
)


@cache
def geometry(config, options=''):
    """Of a config's network, without heads and teacher; ``None`` in stage 1."""
    model = load_config(ROOT / config, parsed(options.removeprefix('--cfg-options '))).model
    if 'propagator' not in model:
        return None
    model.backbone.pop('init_cfg', None)
    parts = {part: model[part] for part in ('backbone', 'propagator', 'feature_stage')}
    return MODELS.build(dict(type='Correspondence', **parts)).geometry


def test_the_commands_of_the_tables_evaluate_what_was_trained():
    students = [pair for pair in PAIRS if geometry(pair[0]) is not None]
    assert ('configs/stt/stt_r18_ytv_s4_128.py', 'configs/eval/davis_r18_s4_128.py', '') in students
    assert len(students) > 20
    for trained, used, options in students:
        check_geometry(trained, geometry(trained), geometry(used, options))


def test_eval_returns_the_module():
    network = CorrespondenceResNet(18)
    assert network.eval() is network
    assert network.train() is network
    assert not CorrespondenceResNet(18, frozen_stages=4, norm_eval=True).train().bn1.training


def test_load_backbone_compares_only_what_it_is_given(student):
    network = CorrespondenceResNet(18, geometry='stride4', out_indices=(2,))
    assert load_backbone(network, student).geometry['pool'] == 'none'
