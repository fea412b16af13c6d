"""What a run learns: a task has its data, its heads, its losses, its figures and its pictures.

The engine asks a task and knows none by name; tasks own no loop.

    averages.py    running means, kept on the device
    batch_key.py   what a batch derives from
    caption_truth.py  captions of the drawn world, judged by it
    captioning/    captions by a decoder
    config.py      settings of every task, and what it is built from
    detection/     boxes, of pre-training and beside a text
    downstream/    what both papers are judged by
    encoding.py    pictures and texts of one's choice through a trained model
    held_out.py    the samples that figures are measured on
    images.py      a batch's pictures, padded, with their grid
    inputs.py      a batch: tensors that move together
    pretraining/   the pre-training of both systems
    reading.py     two data sets of pictures with captions
    retrieval/     which picture is a text about, and the other way round
    sequences.py   texts with the pictures that they are about
    sharing.py     work that several processes share, batch by batch
    step.py        losses and counts of a step
    task.py        Task, Objective, Stage, Learner
    titles.py      texts above pictures that are drawn
    vocabulary.py  the words of a run
"""
