"""Triton programs, installed as ``vlp_fast.kernels``; one file per operator, none imported here.

attention.py               forward: softmax as keys come by
attention_backward.py      backward: delta, then two programs
attention_grad_keys.py     gradients of a tile of keys and values
attention_grad_queries.py  gradients of a tile of queries
attention_rows.py          tiles of packed rows
attention_tiling.py        tiles by architecture and head width
dictionary.py              nearest code: assign, then resolve what is in doubt
dictionary_gather.py       the code of each row
dictionary_prepare.py      codes around a centre, rounded, and what that loses
dictionary_scores.py       scores and the bound of their error
dictionary_sort.py         rows by code: a stable counting sort
dictionary_statistics.py   sums and counts in a fixed order
dictionary_update.py       two moving averages
dropout.py                 which values are dropped
launch.py                  GPU or interpreter
norm.py                    residual, dropout and layer norm of whole rows
norm_backward.py           their gradients; sums over rows in a fixed order
positions.py               a linear layer that adds rows of a table in its epilogue
rounding.py                float32 as a narrower dtype holds it
tiling.py                  tile sizes by architecture
"""
