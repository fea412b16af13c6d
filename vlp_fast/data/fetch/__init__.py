"""Data sets brought here: downloaded, checked, unpacked.

catalogue.py    what sources.toml says of data sets, licences and hosts
download.py     one file from one address, resumably
fetched.py      a data set's files, one after another
part_file.py    what has come of a file so far
tar_members.py  members of a tar file, with bounded headers
unpack.py       archives unpacked within one folder
"""
