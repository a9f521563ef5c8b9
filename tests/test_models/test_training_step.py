"""One step of training: what it asks of a GPU, and what mixed precision changes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from op_counter import OpCounter
from torch._dynamo.testing import CompileCounter

from stt_mm.engine import Runner, enable_amp, load_config
from stt_mm.ops import affinity, windows
from stt_mm.registry import MODELS

init_default_scope('stt_mm')

ADAM = dict(type='Adam', lr=1e-3)


def build(name='stt_r18_ytv', **changes):
    cfg = load_config(name)
    cfg.merge_from_dict({'model.backbone.init_cfg': None})
    if cfg.model.get('teacher'):
        cfg.merge_from_dict({'model.teacher.backbone.init_cfg': None})
    cfg.merge_from_dict(dict(model=changes))
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def clip(batch=2, size=128):
    return dict(inputs=torch.randint(0, 256, (batch, 2, 3, size, size), dtype=torch.uint8))


@pytest.mark.parametrize(
    ('name', 'changes', 'most'),
    [
        ('stt_r18_ytv', {}, 400),
        ('stt_r18_ytv', dict(data_preprocessor=dict(drop_per='sample')), 400),
        ('stt_r18_ytv', dict(data_preprocessor=dict(dropout='bernoulli', teacher_color='lab')), 400),
        (
            'stt_r18_ytv',
            dict(
                reconstruction_head=dict(target='ab', resolution='stride', upsample='aligned'),
                local_head=dict(selection='per_image', source='affinity'),
            ),
            400,
        ),
        ('stt_r18_ytv', dict(reconstruction_head=dict(target='all'), local_head=dict(selection='soft')), 400),
        ('stt_r18_ytv', dict(penalty=dict(type='EWCPenalty', checkpoint='none')), 650),
        ('stt_r18_ytv_s4', {}, 480),
    ],
)
def test_a_step_waits_for_nothing(name, changes, most):
    """The batch comes from pinned memory, and the drawn channels follow it; all else lies on the device.

    Left are the waits of libraries: MMEngine's log asks for each loss once a step, the loss scaling of ``--amp``
    whether a gradient overflowed. mmpretrain's MoCo asks for the position in its queue, MMEngine's moving average for
    its number of steps, and mmpretrain's preprocessor copies the order of the channels for each view.
    """
    model = build(name, **changes)
    if model.penalty is not None:
        weights = {key: value.detach().clone() for key, value in model.backbone.named_parameters()}
        model.penalty.fisher, model.penalty.reference = weights, dict(weights)
    with OpCounter() as counter:
        counter.to_device(model)
        model._set_device(torch.device('cuda'))
        if model.penalty is not None:
            model.penalty.loss(model.backbone, None)  # the file goes to the device once
        batch = dict(inputs=counter.pin(torch.empty(4, 2, 3, 256, 256, dtype=torch.uint8)))
        counter.reset()
        model(**model.data_preprocessor(batch, training=True), mode='loss')
    print(f'\n{name} {changes}: {counter}')
    assert counter.waits == []
    preprocessor = model.data_preprocessor
    colors = {preprocessor.student_color, preprocessor.teacher_color}
    constants = len(colors) + ('lab' in colors)  # they go up once; what is fake is not kept
    assert counter.copies == constants + (2 if preprocessor.dropout is None else 3)
    assert counter.total <= most


def test_nor_does_the_way_back_through_the_windows():
    """Autograd refuses fake tensors of a GPU; these are the parts of the backward pass that are not PyTorch's."""
    with OpCounter() as counter:
        query, key = torch.empty(2, 4, 8, 33, 33, device='cuda')
        grad = torch.empty(4, 33 * 33, 25, device='cuda')
        counter.reset()
        windows._LocalCorrelation.backward(SimpleNamespace(saved_tensors=(query, key), radius=2), grad)
        affinity._MaskedSoftmax.backward(SimpleNamespace(saved_tensors=(grad,)), grad)
    assert counter.waits == []
    assert counter.total > 9


def test_patches_of_a_walk_are_cut_without_waiting(monkeypatch):
    model = build('crw_r18_ytv')
    sizes = []
    monkeypatch.setattr('stt_mm.models.correspondence.crw.cut_patches', lambda *args: sizes.append(args[2]) or args[1])
    with OpCounter() as counter:
        boxes = model.patches(torch.empty(4, 3, 256, 256, device='cuda'), np.random.default_rng(0))
    assert sizes == [(64, 64)]
    assert boxes.is_cuda
    assert counter.waits == []


@pytest.mark.parametrize(
    'name', ['joint_r18_ytv', *(f'pretrain/{method}_r18_in1k' for method in ('mocov2', 'densecl', 'simsiam', 'detco'))]
)
def test_views_of_images_come_without_waiting(name):
    """But for mmpretrain's order of the channels, a list that goes up for each view."""
    model = load_config(name).model
    preprocessor = MODELS.build(model.get('image_branch', model).data_preprocessor)
    with OpCounter() as counter:
        counter.to_device(preprocessor)
        preprocessor._device = torch.device('cuda')
        views = [counter.pin(torch.empty(2, 3, 32, 32, dtype=torch.uint8)) for _ in range(2)]
        counter.reset()
        found = preprocessor(dict(inputs=views, data_samples=None), training=True)['inputs']
    assert all(view.is_cuda for view in found)
    assert (counter.copies, len(counter.waits)) == (2, 2)
    assert counter.ops['aten.index.Tensor'] == 2


def steps(model, device, amp=False, compiled=None):
    """The losses of two steps of training that drop different channels, through MMEngine's ``train_step``."""
    model.init_weights()
    model.train().to(device)
    cfg = Config(dict(compile=compiled and dict(backend=compiled), optim_wrapper=dict(optimizer=ADAM)))
    if amp:
        enable_amp(cfg)
    Runner._maybe_compile(SimpleNamespace(cfg=cfg, model=model), 'train_step')
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    hub, found = MessageHub.get_current_instance(), []
    for iteration in (4, 5):
        hub.update_info('iter', iteration)
        torch.manual_seed(iteration)
        found.append({name: value.item() for name, value in model.train_step(clip(size=64), optim_wrapper).items()})
    return found


@pytest.mark.parametrize(
    ('changes', 'amp'), [({}, False), ({}, True), (dict(data_preprocessor=dict(drop_per='sample')), False)]
)
def test_a_compiled_step_is_one_graph_with_the_same_losses(changes, amp, device):
    counter = CompileCounter()
    found = steps(build(**changes), device, amp, counter)
    expected = steps(build(**changes), device, amp)
    assert counter.frame_count == 1
    assert found[0] == (expected[0] if device == 'cpu' else pytest.approx(expected[0], rel=1e-3))
    assert found[1] == pytest.approx(expected[1], rel=1e-2)
    torch._dynamo.reset()


def test_mixed_precision_does_not_touch_what_the_preprocessor_makes(device):
    """Frames, what is dropped of them, and what the teacher sees, in every step."""
    found = {}
    for amp in (False, True):
        model = build()
        prepared = found[amp] = []
        model.data_preprocessor.register_forward_hook(lambda *args, kept=prepared: kept.append(args[2]['inputs']))
        steps(model, device, amp)
    for plain, mixed in zip(found[False], found[True], strict=True):
        assert mixed.keys() == {'frames', 'student', 'teacher', 'dropped'}
        for name, value in plain.items():
            assert value.device.type == device
            assert torch.equal(mixed[name], value), name


def test_a_step_in_mixed_precision_is_one_with_the_networks_alone_in_it(device, monkeypatch):
    """Student and teacher under autocast, by hand; all that comes before and after them in float32."""
    expected = steps(build(), device, amp=True)
    plain = steps(build(), device)
    model = build()
    dtype = torch.float16 if device == 'cuda' else torch.bfloat16
    for network in (model.backbone, model.teacher.network):
        run = network.forward
        monkeypatch.setattr(network, 'forward', torch.autocast(device, dtype)(run))
    found = steps(model, device)
    if device == 'cpu':
        assert found == expected
    else:
        assert found[0] == pytest.approx(expected[0], rel=1e-3), 'the second step is one of scaled gradients'
    assert found[0] != plain[0]
    assert found[0] == pytest.approx(plain[0], rel=0.02)
