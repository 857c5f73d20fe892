"""Certificates for schedulers that are started by hand: ``python -m hpcthermo.campaign.certificates FOLDER``.

The folder holds one self-signed certificate, which is its own authority, and its key. Who can read the folder can join
the cluster, nobody else; so its mode is 0700 and that of its files 0600.
"""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

from hpcthermo.errors import InputError

CERTIFICATE, KEY, AUTHORITY = "certificate.pem", "key.pem", "ca.pem"
_DAYS = 30


def write_certificates(folder: Path, days: int = _DAYS) -> None:
    """Make a key and a certificate.

    Raises
    ------
    InputError
        If the folder has one already, or cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hpcthermo campaign")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
                   .not_valid_after(now + datetime.timedelta(days=days))
                   .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                   .sign(key, hashes.SHA256()))
    text = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                               serialization.NoEncryption())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        # the authority last: who finds it finds the others
        for file, content in ((KEY, secret), (CERTIFICATE, text), (AUTHORITY, text)):
            with os.fdopen(os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(content)
    except FileExistsError:
        raise InputError(f"{folder}: has certificates already; use them, or name another folder") from None
    except OSError as error:
        raise InputError(f"{folder}: certificates cannot be written ({error.strerror}); name another folder") from None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hpcthermo.campaign.certificates FOLDER")
    try:
        write_certificates(Path(sys.argv[1]))
    except InputError as problem:
        sys.exit(str(problem))
