"""A whole step of pre-training beside a composition of what people have.

`vlp-fast bench step`. Ours is the engine's own: its loader, its `Updater`. The others are written
from the papers and from descriptions of the published code, and have the same parameters, starting
from the same numbers: DETR's encoder-decoder with BERT's embeddings, its matcher on the host
(E2E-VLP); the published SOHO with its one-hot dictionary. Before anything is timed, both say what
they lose on one batch.

    batches.py       padded batches by torchvision's transforms and PyTorch's DataLoader
    bench.py         vlp-fast bench step
    bert.py          BERT's embeddings, layers and word head
    cases.py         what is measured: models, sizes, runs, and ways to run them
    copied.py        weights of ours under the names of the others
    detr.py          DETR's CNN, positions and Transformer
    drawn.py         a data set of COCO's sizes, drawn
    e2e_vlp.py       E2E-VLP, composed
    figures.py       from what sides tell of their steps to rows of the ledger
    one_hot.py       the published dictionary of SOHO
    order.py         which pictures a padded batch has
    ours.py          the side of ours
    process.py       a side in a process of its own
    reference.py     the side of the others
    request.py       what can be asked for
    set_loss.py      DETR's matcher and criterion, with attributes
    soho.py          the published SOHO, composed
    timed.py         steps on the clock, within their process
    turns.py         sides take turns, step by step
"""
