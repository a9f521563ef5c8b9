# Difference 2: compare on the grid of the stage, not at full resolution.
_base_ = '../stt_r18_ytv.py'
model = dict(reconstruction_head=dict(resolution='stride'))
