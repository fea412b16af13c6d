"""Image-text retrieval: both papers' losses, and rankings of pictures and captions.

binary.py           SOHO: each pair of a batch matches or not
circle.py           E2E-VLP: circle loss among sampled pairs
config.py           settings
contact_sheet.py    what was found, drawn
contest.py          what is ranked against what, in which groups
gallery.py          a folder of any pictures
held_out_scores.py  scores of what an evaluation looks at
kept_scores.py      rows of scores on disk, until a ranking is done
match_score.py      the score of a pair
pairing.py          own and foreign pairs of a batch
picture.py          what is found, in report.png
provenance.py       what scores depend on
ranking.py          recall of held-out pictures and captions
retrieval.py        what both have in common
scoring.py          pictures and texts to scores
search.py           pictures and texts of one's own
shortlist.py        pairs that a coarse look finds promising, if asked for
texts.py            distinct texts by length
"""
