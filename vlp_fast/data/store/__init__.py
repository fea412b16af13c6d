"""Data sets as they are kept: pictures in shards, and what annotation files say in arrays.

array_file.py     named arrays in one checked file
consulted.py      what a reader looked at
dataset_cache.py  what was read, kept for the next start
meter.py          how far a long copy is
pack.py           a data set's pictures put into shards, resumably
packed.py         pictures of a packed data set, read by offset
packing_plan.py   what goes into which shard
sample_rows.py    samples of downstream data sets as bytes
shard.py          where a shard's bytes are: a file or a URL
shard_file.py     tar files written
shard_index.py    which picture is where in which shard
stored_files.py   files of pictures by name
texts.py          many texts as one array of bytes
"""
