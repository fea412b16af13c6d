"""Words that the Penn Treebank tokeniser treats in a way of their own.

Source: measured, word by word: all strings of two to five letters, and the 30,522 of BERT's
vocabulary, before a period.
"""

from __future__ import annotations

SHORTENED = """
    adj adm adv al ala alex apr ariz assn asst assoc atty attys aug ave bhd bldg blvd brig bros
    calif capt cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens
    esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun
    kan kans ky lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt
    mtg natl neb nev nov oct okla penn pfc ph plc ppte pptes ppty pptys pres prof profs pte ptes
    pty ptys pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt supts sys
    tel tenn thu thurs treas tue tues univ va vs vt wed wis wisc wm wyo
"""
"""Keep their period, in any spelling."""

SHORTENED_NAMES = "ark az del ill la mass miss ore pa tex wash"
"""Keep it if they begin with a capital: without one they are words."""

BEFORE_NUMBERS = "art ca fig figs no nos op pp prop"
"""Keep it if a number follows."""

SENTENCE_STARTS = """
    a about according additionally after an as at but earlier he her here however if in it last
    many more now once one other our she since so some such that the their then there these they
    this we what when while yet you
"""
"""With a capital behind "b. " they begin a sentence, whose period is no part of "b."."""

SPLIT = {
    "cannot": ("can", "not"),
    "gimme": ("gim", "me"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "wanna": ("wan", "na"),
}
"""Words that are two, unless another is shortened behind them."""

FILE_ENDINGS = """
    bmp c class cpp doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps
    py sql tar txt wav x xml zip
"""
"""Behind a number and a period, part of a file's name."""
