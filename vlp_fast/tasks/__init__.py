"""One file per objective: what is corrupted, which head answers, which loss, which count.

Tasks know batches and models; they read no file and own no weights.

    captioning.py  teacher forcing
    config.py      E2EVLPObjective, SohoObjective
    detection.py   set prediction, read-out
    e2e_vlp.py     the joint objective of E2E-VLP
    images.py      a batch's pictures, padded, with their grid
    itm.py         own and foreign captions
    mlm.py         masked words
    mvm.py         masked visual codes
    soho.py        the joint objective of SOHO
    tagging.py     warm-up of a CNN without ImageNet weights
    task.py        StepOutput
    texts.py       from texts to flat tokens
"""
