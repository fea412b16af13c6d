"""Modules of other libraries, made to run on ours in place: `vlp_fast.accelerate(model)`.

Each kind of module has a file with a `Swap`, which knows the module, says why it leaves one alone,
applies ours to an instance and undoes it. Classes of other libraries are never changed.

    accelerate.py        the public function
    bert.py              BERT of transformers
    bert_probe.py        whether that is the BERT that is known
    detection.py         detection models of transformers: their loss
    detection_sets.py    what those losses share
    detr_losses.py       of DETR, YOLOS, Table Transformer; of Deformable, Conditional, DAB DETR
    loss_probe.py        whether a loss of transformers is the one that is known
    lw_detr_loss.py      of LW-DETR and RF-DETR
    padded_attention.py  attention of padded rows, padding left out
    report.py            what each module became, or why not; restore()
    rt_detr_loss.py      of RT-DETR, both versions
    swap.py              what a kind of swap is, and how an instance changes its class
    torch_attention.py   nn.MultiheadAttention and PyTorch's encoder layers
    vector_quantize.py   lucidrains' VectorQuantize
"""
