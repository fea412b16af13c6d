"""Time: configuration, optimisers, steps, evaluation, checkpoints. The engine knows tasks.

average_precision.py    COCO's AP
averages.py             running means, kept on the device
backbone_weights.py     where a CNN starts when it starts from a file
checkpoint.py           written whole or not at all
code_maps.py            codes in report.png, and what they look like
codebook.py             k-means over features of the first batches
config.py               RunConfig and its sections
curriculum.py           pictures with few objects first
data_notes.py           what to know about the data before a run
divergence.py           a run that learns nothing any more stops
encoding.py             pictures and texts of one's choice through a trained model
evaluator.py            held-out figures
experiment.py           from a configuration to the objects of a run
failure.py              failures of a step that have a remedy
folder_lock.py          one process a run folder
glyphs.py               fonts that have a caption's characters
grounding.py            does the model use the picture?
kept_buffers.py         buffers as they were before a step that failed
optim.py                two optimisers, schedules, clipping
optimizer_state.py      their state as named tensors, and back
picture.py              report.png
precision.py            device and number format
progress.py             display and metrics.jsonl
recorded_run.py         from run.json to the configuration
restore.py              from a configuration back to the trained model
run_folder.py           run.json, vocab.txt
same_data.py            a run goes on with its own data
stop.py                 Ctrl-C: finish the step, save, stop
trainer.py              train(run)
whole_text_matching.py  matching without masked words
"""
