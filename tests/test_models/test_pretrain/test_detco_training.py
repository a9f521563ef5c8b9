"""DetCo's configs under the runner: steps, resuming, and the way to stage 2."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from pretrain_runs import make_trees, run_config, small_config

from stt_mm.registry import MODELS
from stt_mm.utils.weights import load_backbone

TOOLS = Path(__file__).parents[3] / 'tools'
# Patches of 32 x 32, no validation, and keys that go around the queue: 3 steps x 4 images.
SMALL = {
    'train_dataloader.dataset.pipeline.1.transforms.0.transforms.1.0.scale': 96,
    'train_dataloader.dataset.pipeline.1.transforms.0.transforms.1.5.patch_size': 32,
    'train_cfg.max_iters': 3,
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
}
LENGTH = 9


def config(roots):
    cfg = small_config('detco_r18_in1k', roots, **SMALL)
    cfg.model.queue_len = LENGTH
    return cfg


@pytest.fixture(scope='module')
def roots(tmp_path_factory):
    return make_trees(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def straight(roots, tmp_path_factory):
    """DetCo R18 after 3 steps, with checkpoints of the last two."""
    return run_config(config(roots), tmp_path_factory.mktemp('straight'), written=[2, 3])


def test_it_goes_on_with_the_queues_that_it_had(straight, roots, tmp_path):
    resumed = run_config(config(roots), tmp_path, Path(straight.work_dir) / 'iter_2.pth', written=[])
    two = torch.load(Path(straight.work_dir) / 'iter_2.pth', weights_only=True)['state_dict']
    three, found = straight.model.state_dict(), resumed.model.state_dict()
    assert [name for name in three if not torch.equal(three[name], found[name])] == []
    queues = [name for name in three if name.endswith('.queue')]
    assert len(queues) == 8
    for name in queues:
        # The last of 9 columns and the first three are new: 8 keys before, 12 after.
        fresh = ~(two[name] == three[name]).all(0)
        assert fresh.nonzero().flatten().tolist() == [0, 1, 2, 8]
        assert two[name.replace('.queue', '.pointer')].item() == 8
        assert three[name.replace('.queue', '.pointer')].item() == 3


def test_every_term_is_logged_and_their_sum_is_the_loss(straight):
    logged = {
        key.removeprefix('train/'): scalar.data[0]
        for key, scalar in straight.message_hub.log_scalars.items()
        if key.startswith('train/loss')
    }
    terms = {f'loss_{kind}_res{stage}' for kind in ('gg', 'll', 'gl') for stage in (2, 3, 4, 5)}
    assert set(logged) == {'loss', *terms}
    assert logged['loss'] == pytest.approx(sum(logged[term] for term in terms), rel=1e-5)


def test_a_checkpoint_becomes_a_backbone_of_stage_2(straight, tmp_path):
    """Nothing missing, nothing left over, and the very features of the query encoder at equal strides."""
    done = subprocess.run(
        [
            sys.executable,
            TOOLS / 'convert_checkpoint.py',
            Path(straight.work_dir) / 'iter_3.pth',
            tmp_path / 'stage1.pth',
            '--depth',
            '18',
        ],
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert 'source: mmpretrain; ResNet-18: matched 100, missing 0, unexpected 0' in done.stdout

    init_default_scope('stt_mm')
    geometry = dict(type='CorrespondenceResNet', depth=18, geometry='standard', out_indices=(0, 1, 2, 3))
    checkpoint = dict(type='Pretrained', checkpoint=str(tmp_path / 'stage1.pth'))
    trained = straight.model.eval().backbone
    image = torch.randn(2, 3, 96, 128)
    for source in (checkpoint, dict(checkpoint, checkpoint=str(Path(straight.work_dir) / 'iter_3.pth'))):
        backbone = MODELS.build(dict(geometry, init_cfg=source))
        backbone.init_weights()
        report = load_backbone(backbone, source['checkpoint'])
        assert (report.missing, report.unexpected, report.mismatched, report.unused) == ((), (), (), ())
        backbone.eval()
        with torch.no_grad():
            for found, expected in zip(backbone(image), trained(image), strict=True):
                assert torch.equal(found, expected)
    # The student of stage 2 has other strides and the same weights.
    student = MODELS.build(dict(type='CorrespondenceResNet', depth=18, init_cfg=checkpoint))
    student.init_weights()
    assert torch.equal(student.layer4[1].conv2.weight, trained.layer4[1].conv2.weight)
    key = straight.model.encoder_k.module[0].conv1.weight
    assert not torch.equal(student.conv1.weight, key)
