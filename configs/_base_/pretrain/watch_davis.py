# Watches stage 1: labels of DAVIS-2017 val are carried by the backbone that is being trained: RGB, stride 8, res4.
_base_ = '../datasets/davis.py'
val_cfg = dict(
    type='PropagationValLoop',
    model=dict(
        type='Correspondence',
        backbone=dict(type='CorrespondenceResNet', depth=18, pool='none', strides=(1, 2, 2), out_indices=(2, )),
        propagator=dict(type='LabelPropagator', protocol=dict(name='stt_davis_s8', color='rgb')),
        feature_stage='res4'))
# A finished file is tested by a config of configs/eval.
test_dataloader = None
test_evaluator = None
test_cfg = None
