"""A model starts from weights that people have; importing this package does not import torch.

bert.py           BERT's names (Hugging Face), into SOHO
beside.py         what lies beside weights: their vocabulary, their settings
checkpoints.py    which checkpoints of a run folder are whole
coco_classes.py   COCO's ids, which are rows of DETR's classes
convert.py        from a file to tensors under our names: known, compared, then read
detr.py           DETR's names (published and Hugging Face), into E2E-VLP
fit.py            what of a file has a place in a model, and whether it fits
layout.py         a layout: its mark, its tables, its doubtful tensors
load.py           load_weights
loaded.py         the record of what was loaded, left and new
own.py            our own: a run folder, a checkpoint, a model
published.py      where people get weights, and what their file is called
save.py           a file of our own
soho_official.py  the published SOHO's names
state_file.py     tensors of a file by name, unread
torchvision.py    ResNets' names (torchvision, timm, Hugging Face), into either CNN
trained.py        a run's model without its data
"""
