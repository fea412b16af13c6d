"""What a run looks like: one page of HTML that needs no network, no server and no script.

boxes.py          boxes that are found beside those that are annotated
captions.py       captions that beam search weighs
cards.py          pictures with what is said of them, on a page and on a sheet
chart.py          curves and bars as SVG
colours.py        colours and marks that most people tell apart
compare.py        several runs on one page
dictionary.py     the visual dictionary of a SOHO
inside.py         whether attention is where the thing is
looked.py         a run's model and held-out samples
looking.py        what words and object queries look at
page.py           the page around everything
paint.py          boxes and weights drawn on pictures
report.py         one run's page
retrieved.py      pictures found for captions, captions for pictures
sections.py       what is shown of a model, by its abilities
settings.py       a run's settings beside its recipe's
tables.py         figures as tables
wrong_answers.py  answers by kind, and pictures of wrong ones
"""
