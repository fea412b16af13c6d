"""Captions: tokens, and how near they are to what people wrote.

bleu.py           BLEU-1 to BLEU-4
caption_score.py  all of it, of a split
cider.py          CIDEr-D
corpus.py         captions and references, n-grams counted once
java_program.py   what METEOR and SPICE have in common
meteor.py         METEOR, where the user has it
ptb_marks.py      marks and their spelling
ptb_rules.py      what a token can look like
ptb_tokenizer.py  captions to tokens
ptb_words.py      words that are exceptions
rouge.py          ROUGE-L
spice.py          SPICE, where the user has it
"""
