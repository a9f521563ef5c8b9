# DAVIS-2017 val: MAST's network and protocol, for its released weights and for those of configs/mast.
_base_ = ['../_base_/models/mast_r18.py', '../_base_/datasets/davis.py', '../_base_/default_runtime.py']
model = dict(type='Correspondence', propagator=dict(type='LabelPropagator', protocol=dict(name='mast_davis')))
