"""From files to tensors: annotation layouts, images, text, sample order. Imports no model.

ahead.py           values made one ahead, in a thread
annotations.py     objects as files state them, for COCO's protocol
answers.py         the answers of VQA and how right each is
archive_damage.py  what Python raises of a damaged archive
audit/             a data set looked at before a run
broken_image.py    the errors of images that cannot be shown
cache.py           decoded images in memory, shared by workers
config.py          DataConfig
dali_loader.py     steps whose images DALI decodes
dali_pipeline.py   files of a batch in, padded pixels out
decoder.py         which of the two decodes
detokenizer.py     WordPiece to captions as people write them
encoded.py         images that are decoded with their batch
examples.py        from a record to an example; broken images replaced
fetch/             data sets downloaded, checked, unpacked
fingerprint.py     whether data are those of another time
first_look.py      whether most images of a data set are broken
given_paths.py     paths looked at before anything is imported
header.py          what an image file says of itself
images.py          image files to upright 8-bit RGB
leak.py            held-out pictures that are training pictures
loader.py          steps from worker processes, stateless
mixture.py         several data sets as one
near_texts.py      texts that differ from another in one word
order.py           which samples a step shows
parts.py           values of one type inside of records
picture_file.py    a picture's file, in a folder or in a shard
printable.py       text that no terminal obeys
randomness.py      draws keyed by seed, epoch, sample and purpose
record.py          one image and its annotations
record_table.py    records as columns
records.py         Dataset
sample_loader.py   from a sample to its pictures
samples.py         questions, statements, hypotheses about pictures
sources/           annotation layouts as published
split_pair.py      what of each folder is trained and measured on
steps.py           the steps of a range, whoever decodes
store/             pictures in shards, annotations in arrays
submissions/       files of answers for servers and official scripts
subsample.py       some of a split in place of all
tokenizer.py       WordPiece, given or trained
transfer.py        values from one process to another
transforms.py      resize, pad
upright.py         pictures and boxes turned as EXIF says
worker.py          a process that loads
world/             the drawn world
"""
