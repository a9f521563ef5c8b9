# Difference 5: one draw of the dropped channel per clip.
_base_ = '../stt_r18_ytv.py'
model = dict(data_preprocessor=dict(drop_per='sample'))
