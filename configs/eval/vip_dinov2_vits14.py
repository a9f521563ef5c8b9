# VIP val: DINOv2's ViT-S/14. Its paper does not have this benchmark: CropMAE's protocol, with as many cells of 14
# pixels as it has of 16.
_base_ = ['../_base_/models/dinov2_vits14.py', '../_base_/datasets/vip.py', '../_base_/default_runtime.py']
model = dict(propagator=dict(protocol=dict(name='cropmae_vip', stride=14, long_side=770, multiple=56)))
