"""What both papers are judged by: a text about pictures, answered from [CLS].

answering.py    VQA v2
classifiers.py  heads, by the names of those who use them
config.py       settings
cut_texts.py    texts that are longer than what is read of them
entailment.py   SNLI-VE
picture.py      answers in report.png
reasoning.py    NLVR2
sample_batch.py  samples with their pictures as a batch
sample_task.py  what these have in common
scoring.py      held-out figures
"""
