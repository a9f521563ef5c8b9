# VIP val, parts as instances: ResNet-18 at stride 8 under STT's protocol.
_base_ = [
    '../_base_/models/propagation_r18_s8.py',
    '../_base_/datasets/vip_instance.py',
    '../_base_/default_runtime.py',
]
model = dict(propagator=dict(protocol=dict(name='stt_vip_s8')))
