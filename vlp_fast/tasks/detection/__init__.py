"""Boxes: set prediction, which pre-training shares, and detection with paired text.

answers.py         what is found, in pixels of the annotated frame
batch.py           pictures with the texts that they are read with
config.py          settings
detection.py       the task (E2E-VLP section 5.8)
notes.py           what to know about boxes before a run
picture.py         boxes in report.png
scoring.py         held-out figures, a column for each text
set_prediction.py  set loss and read-out
"""
