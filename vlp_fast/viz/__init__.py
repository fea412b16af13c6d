"""What a run looks like: one page of HTML that needs no network, no server and no script.

chart.py      curves as SVG
compare.py    several runs on one page
page.py       the page around everything
report.py     one run's page
settings.py   a run's settings beside its recipe's
tables.py     figures as tables
"""
