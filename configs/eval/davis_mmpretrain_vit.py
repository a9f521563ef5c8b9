# DAVIS-2017 val: a ViT-S/16 of mmpretrain; CHECKPOINT is any that mmpretrain wrote for it.
_base_ = ['../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(
    type='Correspondence',
    backbone=dict(
        type='MMPretrainBackbone',
        network=dict(type='mmpretrain.VisionTransformer', arch='deit-small', out_indices=[-1]),
    ),
    propagator=dict(type='LabelPropagator', protocol=dict(name='dino_davis_p16', color='rgb')),
    feature_stage=None,
)
