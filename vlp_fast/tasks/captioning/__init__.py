"""Captions as a downstream task (E2E-VLP section 5.1): the decoder, fine-tuned by itself.

captioning.py  the task
config.py      settings
figures.py     held-out figures of captions that are written
picture.py     captions in report.png
"""
