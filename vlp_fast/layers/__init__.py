"""Modules that the models are made of, each usable on its own in other people's training code.

all_pairs.py                every text beside every image, for [CLS] alone
attention.py                GridAttention, CrossAttention
attention_maps.py           how much every row looks at every other
backbone.py                 ResNet with torchvision's names, freezing, remask
beam_search.py              the best text, or texts, of several that are kept
class_losses.py             focal, varifocal and IoU-aware losses of detection
code_revival.py             rows for codes that nothing hits any more
code_update.py              a step of the codes while other processes' are on the way
compilation.py              Transformer layers as graphs of torch.compile
criterion.py                SetCriterion
data_start.py               whether codes that start from data have started
decoding.py                 texts token by token, without gradients
dictionary_state.py         the codes of VisualDictionary and how a step moves them
ema_codebook.py             codes of moving averages, as vector-quantize-pytorch keeps them
embeddings.py               BERT's for text, DETR's sine for grid cells
first_rows.py               the last layer for [CLS] alone
float32_state.py            buffers that stay float32
gathered_units.py           what is computed with weights from several processes
heads.py                    words, matching, classes, attributes, boxes
kmeans.py                   where a dictionary starts when it starts from data
language_model.py           what a search for texts asks of a model
largest.py                  the largest numbers of a row, ties in order
late_flag.py                a flag on the device, known one step later
late_warning.py             warnings about the device that come one step later
matched_pairs.py            which prediction belongs to which target
matching.py                 HungarianMatcher
padding.py                  padded sequences as packed ones
perplexity.py               how evenly codes are used
pixels.py                   bytes to what the CNN takes
positions.py                positions as sums of table rows
processes.py                what a dictionary needs of other processes
projections.py              q, k and v as nn.MultiheadAttention has them
query_slices.py             slices of queries matched each by itself
recomputation.py            layers that compute again what they would have to keep
relu_dropout.py             rectifier and dropout as one operation
residual_block.py           blocks and the frozen norm
rotation_trick.py           a gradient for rows that became codes
sampling.py                 texts word by word: greedy, drawn
sequences.py                how packed rows divide into sequences
shard_statistics.py         batch norm and dictionary where a step is computed in shards
single_losses.py            DETR's losses one by one, for criteria of one's own
straight_through.py         codes in value, rows in gradient; commitment loss
transformer.py              encoder and decoder
vector_quantize.py          VectorQuantize, in place of vector-quantize-pytorch's
vector_quantize_options.py  which of its options are taken
visual_dictionary.py        VisualDictionary
"""
