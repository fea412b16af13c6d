"""The definitions in plain torch: what runs on a CPU, what tests compare with, what is beaten.

assignment.py  SciPy's linear sum assignment, matrix by matrix
attention.py   softmax(q k^T) v within sequences, and its backward pass
boxes.py       intersection over union, generalised IoU
dictionary.py  nearest code, statistics, two moving averages
dropout.py     which values are dropped: a hash of their places
losses.py      DETR's set losses
matching.py    DETR's matching cost
norm.py        residual, dropout and layer norm, and their backward pass
positions.py   a linear layer and rows of a table
precision.py   float32, or float64 where that is given
"""
