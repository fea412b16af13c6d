"""Time: configuration, phases, optimisers, steps, evaluation, checkpoints. Any task's.

agreement.py         whether all processes hold the same weights
bad_samples.py       what was replaced, told and written down
best.py              the best checkpoint by a held-out figure
checkpoint.py        written whole or not at all
checkpoint_writer.py  a thread that writes them
clock.py             how fast a run is
collectives.py       what processes send one another
compilations.py      how many graphs were compiled
communication.py     what of a step is spent on sending
config.py            RunConfig and its sections
counted.py           what a shard counts, on its way to all processes
divergence.py        when a run learns nothing any more
dry_run.py           what a run would be
dump.py              a skipped step, written down
dumps.py             when that is, and all processes together
evaluator.py         held-out figures
experiment.py        from a configuration to the objects of a run
failure.py           failures of a step that have a remedy
first_batches.py     what an objective begins with
figure_table.py      figures of columns side by side
finite.py            whether everything is finite, without waiting
folder_lock.py       one process a run folder
frozen_noise.py      a CNN that is frozen and random is refused
glyphs.py            fonts that have a caption's characters
guard.py             a run whose steps are skipped goes on, goes back, or ends
keeper.py            the checkpoints of a run, and going on from them
kept_buffers.py      buffers as they were before a step that failed
launch.py            the processes of a run on this machine
memory.py            what a process takes
module_watch.py      what each module gives, forward and backward
notes.py             what to know about the data before a run
operations.py        floating-point operations of a run
optim.py             two optimisers, schedules, clipping
optimizer_state.py   their state as named tensors, and back
parameters.py        what optimisers and checkpoints see of a learner's
peaks.py             what a device could compute at most
phases.py            a run as a list of phases
picture.py           report.png
precision.py         device and number format
progress.py          display and metrics.jsonl
record.py            what a run shows and writes while it trains
recorded_run.py      from run.json to the configuration
reduction.py         gradients and sums of shards become those of the step
rehearsal.py         the steps of many processes by one
replaced.py          too much that was replaced stops a run
replay.py            a step that was written down, repeated
rerun.py             shards of a step, looked into
restore.py           from a configuration back to the trained model
rollbacks.py         going back, and on with other samples
run_folder.py        run.json, vocab.txt
same_data.py         a run goes on with its own data
schedule.py          learning rates as a function of the step
sharded_parameters.py  each process keeps some rows of them
shares.py            which shards a process computes
shown.py             samples that all processes have shown
skipped.py           steps that moved nothing
snapshot.py          model and optimisers at one moment, in memory of the host
speed.py             what the steps between two lines cost
standing.py          where a run stands, besides its weights
step_profile.py      where the time of some steps went
stop.py              Ctrl-C: finish the step, save, stop
tensorboard.py       the figures of metrics.jsonl for TensorBoard
tensor_summary.py    a tensor in four numbers
told_once.py         warnings of several processes appear once
trainer.py           train(run)
tree_sum.py          sums that do not depend on who added what
updater.py           from the shards of a batch to weights that have moved
vote.py              all processes stop after the same step
watchdog.py          a run that hangs says where, and ends
weight_average.py    what is used in place of the weights once training ends
world.py             the processes that train one run together
"""
