"""What `make docs` needs beside Sphinx, and what writes pictures of the pages.

docstrings.py  docstrings of the package as reStructuredText
hosts.py       a built site asks nothing of other hosts
rooms.py       the drawing of the rooms, from the rules of the tests
"""
