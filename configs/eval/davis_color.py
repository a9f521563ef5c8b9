# Raw Lab colour: 3 x 3 patches at stride 8. No weights: tools/test.py configs/eval/davis_color.py none
_base_ = ['../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(
    type='Correspondence',
    backbone=dict(type='ColorPatches', size=3, stride=8),
    propagator=dict(type='LabelPropagator', protocol=dict(name='stt_davis_s8')),
    feature_stage=None,
)
