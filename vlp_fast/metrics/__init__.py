"""Figures from predictions and truth: NumPy and text, no torch.

answer_text.py        answers as VQA's evaluator rewrites them
average_precision.py  AP of boxes in the frame of the picture as shown
box_matching.py       boxes with objects, a picture and class at a time
boxes.py              what there is, and what was found
caption/              how near captions are to what people wrote
class_accuracy.py     SNLI-VE: right labels, by class
coco_protocol.py      COCO's twelve numbers
consistency.py        NLVR2: right answers, and groups without a mistake
example_set.py        which examples a figure is of
pair_precision.py     AP over pairs of class and attribute
precision_curves.py   AP of pictures that are weighed anew
recall.py             recall at K both ways, ties counted
score.py              what scores have in common, and shares
vqa_score.py          VQA's accuracy, by the official rule and others
"""
