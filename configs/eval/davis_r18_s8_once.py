# Not STT's protocol: the first frame stands in the memory once. Its numbers are not comparable with published ones.
_base_ = './davis_r18_s8.py'
model = dict(propagator=dict(protocol=dict(first_frame='once')))
