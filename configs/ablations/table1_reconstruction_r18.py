# Paper Table 1, row 1: frame reconstruction at res4 alone (J&F 64.9).
_base_ = './table1_pyramid_r18.py'
model = dict(reconstruction_head=dict(stages=('res4',), weights=(1.0,)))
