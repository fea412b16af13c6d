"""A page for a browser on which visitors ask trained models about pictures of theirs.

asking.py     what visitors ask, and how models answer
examples.py   drawings and questions for a first look
models.py     the models of a page
offline.py    gradio, which makes the page, silenced
own_files.py  keeps gradio to the files of this process
page.py       what stands where, and what is asked when
pictures.py   results drawn on pictures
port.py       the place where the page is
replies.py    what the page shows when a visitor does something
seen.py       what models see in a picture, unasked
server.py     serves the page to this machine's browsers
shown.py      results as HTML
style.py      how the page looks
uploads.py    files of visitors, bounded
"""
