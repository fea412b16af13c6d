"""Data sets brought here: downloaded, checked, unpacked.

catalogue.py  what sources.toml says of data sets, licences and hosts
download.py   one file from one address, resumably
fetched.py    a data set's files, one after another
unpack.py     archives unpacked within one folder
"""
