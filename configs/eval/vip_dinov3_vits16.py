# VIP val: DINOv3's ViT-S/16. Its paper does not have this benchmark: CropMAE's protocol.
_base_ = ['../_base_/models/dinov3_vits16.py', '../_base_/datasets/vip.py', '../_base_/default_runtime.py']
model = dict(propagator=dict(protocol=dict(name='cropmae_vip')))
