"""Figures from predictions and truth: NumPy and text, no torch.

average_precision.py  COCO's AP
"""
