"""What a step of propagation asks of a GPU, counted on fake tensors: operations, and waits of the host.

`pytest -s` prints the counts.
"""

from types import SimpleNamespace

import pytest
import torch
from op_counter import OpCounter

from stt_mm.models import LabelPropagator, Tracker
from stt_mm.models.corrections import Group
from stt_mm.registry import MODELS

# A card of 24 GB: what the correlations may take is a quarter of what is free.
FREE = 20 * 2**30
SIZE = (480, 854)


def counted(monkeypatch, protocol, births=(0,), channels=256):
    """Counts of one frame and its mask, the memory being full, with an object from each birth."""
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (FREE, FREE))
    for kind in ('reserved', 'allocated'):
        monkeypatch.setattr(torch.cuda, f'memory_{kind}', lambda device: 0)
    monkeypatch.setattr(torch.cuda, 'Event', lambda: SimpleNamespace(record=lambda: None))
    propagator = LabelPropagator(protocol)
    settings = propagator.protocol
    height, width = (round(side / settings.stride) for side in settings.input_size(SIZE))
    with OpCounter() as counter:
        feature, label = (
            torch.empty(channels, height, width, device='cuda'),
            torch.empty(2, height, width, device='cuda'),
        )
        tracker = Tracker(propagator)
        # What a tracker keeps of a mask, whose ids are numbers that a fake tensor does not have.
        tracker._groups = [Group((1 + birth,), True, 2) for birth in births]
        tracker._names = torch.empty(1 + len(births), dtype=torch.uint8, device='cuda')
        propagator.start(feature, label)
        # The memory fills with what nobody looked for; the last frame before the counted one makes the plan.
        propagator._propagate = lambda feature: [label] * len(propagator._groups)
        last = max(births) + settings.num_context + max(settings.fixed) + 1
        for time in range(1, last + 1):
            if time == last:
                del propagator._propagate
            propagator.step(feature)
            if time in births:
                propagator.add(label)
        counter.reset()
        tracker.step(feature, SIZE)
    plan = propagator._plan
    print(f'\n{protocol}, {len(births)} groups, {height} x {width}, {plan.together} tiles together: {counter}')
    return counter


@pytest.mark.parametrize(
    ('protocol', 'births', 'most'),
    [
        ('stt_davis_s8', (0,), 250),
        ('stt_davis_s4', (0,), 500),
        ('vfs_davis_r50', (0,), 250),
        ('crw_davis', (0,), 500),
        ('dino_davis_p16', (0,), 500),
        ('dino_davis_p8', (0,), 500),
        ('stt_ytv_s8', (0, 15, 18), 500),
        ('stt_jhmdb_s8', (0,), 250),
        ('sfc_fusion_davis', (0,), 500),
        ('mast_davis', (0,), 500),
        ('liir_davis', (0,), 500),
    ],
)
def test_a_frame_costs_a_gpu_few_operations_and_the_host_no_wait(monkeypatch, protocol, births, most):
    counter = counted(monkeypatch, protocol, births)
    assert counter.total <= most
    assert counter.waits == []


@pytest.mark.parametrize('color', ['lab', 'rgb'])
def test_a_frame_goes_up_as_bytes_and_nobody_waits_for_it(monkeypatch, color):
    # Made once, with waiting.
    monkeypatch.setattr('stt_mm.ops.color._lab_of_bytes', lambda device: torch.empty(2**24, 3, device=device))
    protocol = dict(name='stt_davis_s8', color=color, short_side=None)
    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            backbone=dict(type='stt_mm.CorrespondenceResNet', depth=18),
            propagator=dict(type='stt_mm.LabelPropagator', protocol=protocol),
        )
    ).eval()
    with OpCounter() as counter:
        counter.to_device(model)
        model.data_preprocessor._device = torch.device('cuda')
        frame = counter.pin(torch.empty(*SIZE, 3, dtype=torch.uint8))
        model.feature(frame)
    print(f'\n{color}: {counter}')
    assert counter.waits == []
    assert counter.copies >= 1
