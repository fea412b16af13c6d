"""A trained model is asked about pictures, without the data that it learnt from.

answers.py      from the outputs of a model to what it says
asked.py        which pictures go with which texts
attention.py    what a model looks at
card.py         a model's card
create.py       a named model, random or trained
description.py  what there is to know of a model besides its weights
exported.py     a model's folder to hand on
graphs.py       CUDA graphs by bucket
groups.py       files of pictures, as many together as it pays to compute
hub.py          such folders on Hugging Face's hub
pictures.py     whatever holds a picture, decoded as held-out pictures are
places.py       where a model is, by what people call it
predictor.py    the object that `vlp_fast.load` gives
program.py      a model as one program of tensors, by torch.export
reading.py      pictures seen, texts read beside them, each result as if alone
results.py      what a model says
shipped.py      finds the models that come with the package
trained.py      a model with what it needs besides
words.py        texts as the model reads them

Small trained models lie beside these files, an exported folder each; shipped.py finds them.
"""
