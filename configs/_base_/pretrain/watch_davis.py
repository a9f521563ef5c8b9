# Watches stage 1: labels of DAVIS-2017 val are carried by the backbone that is being trained, in RGB with its max-pool,
# at stride 8 in res4: what eval/davis_spatial_r18_rgb does with a finished one.
_base_ = '../datasets/davis.py'
val_cfg = dict(
    type='PropagationValLoop',
    model=dict(
        type='Correspondence',
        backbone=dict(type='CorrespondenceResNet', depth=18, geometry='stride8_maxpool', out_indices=(2,)),
        propagator=dict(type='LabelPropagator', protocol=dict(name='stt_davis_s8', color='rgb')),
        feature_stage='res4',
    ),
)
# A finished file is tested by a config of configs/eval.
test_dataloader = None
test_evaluator = None
test_cfg = None
