# YouTube-VOS 2018 valid: LIIR's network, and its protocol on the input of STT.
_base_ = ['../_base_/models/liir_r18.py', '../_base_/datasets/youtube_vos_valid.py', '../_base_/default_runtime.py']
model = dict(type='Correspondence', propagator=dict(type='LabelPropagator', protocol=dict(name='liir_ytv')))
