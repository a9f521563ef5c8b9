# DAVIS-2017 val: LIIR's network and protocol.
_base_ = ['../_base_/models/liir_r18.py', '../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(type='Correspondence', propagator=dict(type='LabelPropagator', protocol=dict(name='liir_davis')))
