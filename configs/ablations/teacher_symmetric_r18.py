# Difference 17: one temperature rule for student and teacher.
_base_ = '../stt_r18_ytv.py'
model = dict(global_head=dict(teacher_temperature=None))
