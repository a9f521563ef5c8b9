# JHMDB split 1: DINOv2's ViT-S/14. Its paper does not have this benchmark: CropMAE's protocol, with as many cells of 14
# pixels as it has of 16.
_base_ = ['../_base_/models/dinov2_vits14.py', '../_base_/datasets/jhmdb.py', '../_base_/default_runtime.py']
model = dict(propagator=dict(protocol=dict(name='cropmae_jhmdb', stride=14, size=(280, 280))))
