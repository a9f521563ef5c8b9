# MAST with CorrFlow's target: the probability of each of 16 colours in place of the dropped channel. The paper
# compares both.
_base_ = './mast_r18_ytv.py'
model = dict(reconstruction_head=dict(target='classes', classes=16, loss=dict(_delete_=True, type='ColorClassLoss')))
