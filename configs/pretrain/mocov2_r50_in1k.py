# MoCo v2, ResNet-50, 200 epochs of ImageNet, 8 processes x 32 images (STT, Table 3: J&F 65.4).
_base_ = './mocov2_r18_in1k.py'
model = dict(backbone=dict(depth=50), neck=dict(in_channels=2048, hid_channels=2048))
val_cfg = dict(model=dict(backbone=dict(depth=50)))
