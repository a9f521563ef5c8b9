# VIP val, semantic parts: ResNet-50 at stride 4 under STT's protocol.
_base_ = './vip_r18_s4.py'
model = dict(backbone=dict(depth=50))
