"""What Python raises of an archive that is damaged or compressed in an unknown way."""

import lzma
import tarfile
import zipfile
import zlib

ZIP_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, zlib.error, lzma.LZMAError),
    NotImplementedError,  # compressed in a way, or by a version, that Python does not know
)
TAR_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)

ENCRYPTED = 0x1
"""The bit of a zip file's flags."""


def check_readable(info: zipfile.ZipInfo) -> None:
    """Refuse a member that nobody can read without a password.

    Python raises a bare RuntimeError there, which is what mistakes raise, too: whoever caught that
    would take a mistake for a damaged archive, and delete it.

    Raises:
        zipfile.BadZipFile: if it is encrypted.
    """
    if info.flag_bits & ENCRYPTED:
        raise zipfile.BadZipFile(f"{info.filename} is encrypted")
