# DenseCL, ResNet-50, 200 epochs of ImageNet, 8 processes x 32 images; not in the paper.
_base_ = './densecl_r18_in1k.py'
model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048, hid_channels=2048))
val_cfg = dict(model=dict(backbone=dict(depth=50)))
