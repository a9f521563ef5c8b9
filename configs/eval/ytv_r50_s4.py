# YouTube-VOS 2018 valid: ResNet-50 at stride 4 under STT's protocol.
_base_ = './ytv_r18_s4.py'
model = dict(backbone=dict(depth=50))
