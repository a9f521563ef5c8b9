# DINOv2's ViT-S/14, the last layer after its norm, evaluated by label propagation as DINOv3 does it at size S.
model = dict(
    type='Correspondence',
    backbone=dict(type='TimmBackbone', model_name='vit_small_patch14_dinov2', position_embedding='dino'),
    propagator=dict(type='LabelPropagator', protocol=dict(name='dinov3_davis_s_p14')),
    feature_stage=None,
)
