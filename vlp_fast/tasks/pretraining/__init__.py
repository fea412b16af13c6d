"""The pre-training of both systems: what is corrupted, which head answers, what is measured.

captioning.py           teacher forcing
cell_sampling.py        random cells in place of all
code_maps.py            codes in report.png, and what they look like
codebook.py             k-means over features of the first batches
config.py               E2EVLPPretrainingConfig, SohoPretrainingConfig
curriculum.py           pictures with few objects first
e2e_vlp.py              E2E-VLP: words, matching, detection, captioning
grounding.py            does the model use the picture?
itm.py                  own and foreign captions
mlm.py                  masked words
mvm.py                  masked visual codes
pairs.py                what both batches hold
picture.py              words, boxes, captions and codes in report.png
pretraining.py          what both have in common
soho.py                 SOHO: words, visual codes, matching
tagging.py              warm-up of a CNN without ImageNet weights
texts.py                from texts to flat tokens
whole_text_matching.py  matching without masked words
"""
