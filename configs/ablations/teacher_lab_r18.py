# Difference 19: the teacher sees Lab (for a stage 1 trained on Lab).
_base_ = '../stt_r18_ytv.py'
model = dict(data_preprocessor=dict(teacher_color='lab'))
