# DAVIS-2017 val: DINO's ViT-S/16 under DINO's protocol; CHECKPOINT is dino_deitsmall16_pretrain.pth or a training file.
_base_ = ['../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(
    type='Correspondence',
    backbone=dict(type='TimmBackbone', model_name='vit_small_patch16_224', position_embedding='dino'),
    propagator=dict(type='LabelPropagator', protocol=dict(name='dino_davis_p16')),
    feature_stage=None,
)
