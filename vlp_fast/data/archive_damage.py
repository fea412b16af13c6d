"""What Python raises of an archive that is damaged, encrypted, or compressed in an unknown way."""

import lzma
import tarfile
import zipfile
import zlib

ZIP_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, zlib.error, lzma.LZMAError),
    RuntimeError,  # encrypted; NotImplementedError, a kind of it: another compression
)
TAR_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
