# SA-V: ResNet-18 at stride 8 under STT's protocol for objects that come later.
_base_ = ['../_base_/models/propagation_r18_s8.py', '../_base_/datasets/sav.py', '../_base_/default_runtime.py']
model = dict(propagator=dict(protocol=dict(name='stt_ytv_s8')))
