# SFC's protocol for fine-grained correspondence alone, without its fusion with semantic features.
_base_ = './davis_crw_r18.py'
model = dict(propagator=dict(protocol=dict(name='sfc_davis')))
