"""Small data, checkpoints and runs for the configs of joint and continual learning."""

import importlib.util
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from pretrain_runs import run_config
from tiny_data import make_youtube_vos, texture, write_image

from stt_mm.engine import load_config
from stt_mm.registry import MODELS

SIZE = 64
STRIDE_4 = {
    'model.backbone.geometry': 'stride4',
    'model.radii.res4': 12,
    'model.propagator.protocol.name': 'stt_davis_s4',
}


def config_diff(path, other):
    """What tools/print_config.py prints for ``path --diff other``, as lines."""
    tool = Path(__file__).parents[1] / 'tools' / 'print_config.py'
    spec = importlib.util.spec_from_file_location('print_config', tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.diff(load_config(other), load_config(path))


def make_data(root):
    """Four videos and eight images below ``root``, in the layouts of YouTube-VOS and ImageNet; returns ``root``."""
    make_youtube_vos(root / 'YouTubeVOS', num_videos=4, num_frames=3)
    for number in range(8):
        write_image(root / 'ImageNet' / 'train' / f'n{number % 2}' / f'{number}.JPEG', texture((80, 96), number))
    return root


def moco(depth=18, keys=16):
    """Stage 1 with few keys and random weights; the key encoder is a copy of the query encoder."""
    init_default_scope('stt_mm')
    cfg = load_config(f'pretrain/mocov2_r{depth}_in1k', {'model.queue_len': keys})
    model = MODELS.build(cfg.model)
    model.encoder_k.update_parameters(torch.nn.Sequential(model.backbone, model.neck))
    return model


def write_stage1(path, depth=18):
    """A full checkpoint of stage 1; returns the model."""
    model = moco(depth)
    torch.save(dict(state_dict=model.state_dict()), path)
    return model


def write_fisher(path, backbone, offset=0.0):
    """A file as tools/estimate_fisher.py writes it, with weights that lie ``offset`` below those of the backbone."""
    parameters = dict(backbone.named_parameters())
    generator = torch.Generator().manual_seed(7)
    content = dict(
        fisher={name: torch.rand(value.shape, generator=generator) for name, value in parameters.items()},
        reference={name: value.detach() - offset for name, value in parameters.items()},
        meta={},
    )
    torch.save(content, path)
    return content


def set_files(monkeypatch, folder, depth=18):
    """Data and every file that the configs of one depth name, in the environment variables that they read.

    Strides have no weights, so the files are the same for stride 4.
    """
    make_data(folder / 'data')
    model = write_stage1(folder / 'stage1.pth', depth)
    write_fisher(folder / 'fisher.pth', model.backbone)
    monkeypatch.setenv('STT_DATA', str(folder / 'data'))
    for name in (f'STAGE1_R{depth}', f'STAGE1_FULL_R{depth}', f'TEMPORAL_R{depth}'):
        monkeypatch.setenv(f'STT_{name}', str(folder / 'stage1.pth'))
    for name in (f'FISHER_R{depth}', f'FISHER_TEMPORAL_R{depth}'):
        monkeypatch.setenv(f'STT_{name}', str(folder / 'fisher.pth'))
    return model


def small(name, **options):
    """A shipped training config on batches of two small samples, two iterations, without validation."""
    cfg = load_config(name)
    loaders = [cfg.train_dataloader, *([cfg.train_cfg.image_dataloader] if 'image_dataloader' in cfg.train_cfg else [])]
    for loader in loaders:
        loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
        if loader.dataset.type == 'ImageFolder':
            loader.dataset.pipeline[1].transforms[0].transforms[0][0].scale = SIZE
        else:
            loader.dataset.pipeline[1].size = (SIZE, SIZE)
    branch = cfg.model.get('image_branch', cfg.model)
    if 'queue_len' in branch:
        branch.queue_len = 16
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'):
        cfg.pop(key, None)
    cfg.visualizer = dict(type='Visualizer')
    cfg.train_cfg.max_iters = 2
    cfg.default_hooks.checkpoint.update(interval=1, save_best=None)
    cfg.merge_from_dict(options)
    return cfg


def check_trains_and_resumes(name, folder, **options):
    """Two iterations change the backbone, and the second one after a resume gives the same weights bit by bit.

    The options go into both runs; a file of the first iteration is all that they have to leave.
    """
    straight = run_config(small(name, **options), folder / 'straight', written=[1])
    stopped, random = folder / 'straight' / 'iter_1.pth', torch.get_rng_state()
    first = torch.load(stopped, weights_only=True)['state_dict']
    last = straight.model.state_dict()
    assert any(
        not torch.equal(first[key], value)
        for key, value in last.items()
        if key.startswith('backbone.') and key.endswith('conv1.weight')
    )
    resumed = run_config(small(name, **options), folder / 'resumed', stopped, written=[])
    assert resumed.iter == straight.iter == 2
    assert torch.equal(torch.get_rng_state(), random)
    found = resumed.model.state_dict()
    assert found.keys() == last.keys() == first.keys()
    assert [key for key, value in last.items() if not torch.equal(found[key], value)] == []
    return straight
