"""Figures from predictions and truth: NumPy and text, no torch.

answer_text.py        answers as VQA's evaluator rewrites them
average_precision.py  COCO's AP
class_accuracy.py     SNLI-VE: right labels, by class
consistency.py        NLVR2: right answers, and groups without a mistake
example_set.py        which examples a figure is of
recall.py             recall at K both ways, ties counted
score.py              shares that processes add up
vqa_score.py          VQA's accuracy, by the official rule and others
"""
