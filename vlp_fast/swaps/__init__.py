"""Modules of other libraries, made to run on ours in place: `vlp_fast.accelerate(model)`.

Each kind of module has a file with a `Swap`, which knows the module, says why it leaves one alone,
applies ours to an instance and undoes it. Classes of other libraries are never changed.

    accelerate.py        the public function
    padded_attention.py  attention of padded rows, padding left out
    report.py            what each module became, or why not; restore()
    swap.py              what a kind of swap is, and how an instance changes its class
    torch_attention.py   nn.MultiheadAttention and PyTorch's encoder layers
"""
