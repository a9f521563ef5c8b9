# VIP val, parts as instances: ResNet-50 at stride 8 under STT's protocol.
_base_ = './vip_instance_r18_s8.py'
model = dict(backbone=dict(depth=50))
