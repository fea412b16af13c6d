"""What a run looks like: one page of HTML that needs no network, no server and no script.

chart.py       curves and bars as SVG
compare.py     several runs on one page
dictionary.py  the visual dictionary of a SOHO
page.py        the page around everything
report.py      one run's page
settings.py    a run's settings beside its recipe's
tables.py      figures as tables
"""
