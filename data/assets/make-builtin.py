#!/usr/bin/env python3
"""Write builtin.bin, the embedded set: 5,000 training and 1,000 test images of CIFAR-10, as JPEG.

usage: make-builtin.py CIFAR10_JPEG_TAR OUT

CIFAR10_JPEG_TAR is a tar archive (compressed or not) of the 60,000 images of CIFAR-10 with members
{train,test}/CLASS/FILE.jpg, all written by one encoder with one setting, so that their JPEG headers are the same bytes.
Only the standard library is needed; about 10 s. The same archive always gives the same file.

Per class, 500 training and 100 test images are taken: those whose names have the smallest SHA-256 when prefixed with a
fixed seed, and in that order, so that classes come mixed. The container holds the common header once (little-endian):

    8 bytes   b"PLEACH01"
    u32 x 3   header length, training images, test images
    bytes     the JPEG header, from SOI to the end of SOS
    then, training images first, for each image
      u8      label, the index of its class in alphabetical order
      u16     length of its entropy-coded data
      bytes   the data, without the closing EOI marker (ff d9)
"""
import hashlib
import struct
import sys
import tarfile
from pathlib import Path

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
PER_CLASS = {"train": 500, "test": 100}
SEED = "pleach builtin 1"


def rank(name: str) -> bytes:
    """Random but fixed: independent of the order in the archive and of Python's generators."""
    return hashlib.sha256(f"{SEED}/{name}".encode()).digest()


def split(jpeg: bytes, name: str) -> tuple[bytes, bytes]:
    """Header up to the end of SOS, and the entropy-coded data without EOI."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    assert jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9", f"{name}: not a whole JPEG file"
    return jpeg[:at], jpeg[at:-2]


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    files = {}
    with tarfile.open(sys.argv[1]) as tar:
        for member in tar:
            if member.isfile():
                files[member.name.removeprefix("./")] = tar.extractfile(member).read()

    header, records = None, []
    for part, wanted in PER_CLASS.items():
        chosen = []
        for label, name in enumerate(NAMES):
            members = sorted((m for m in files if m.startswith(f"{part}/{name}/")), key=rank)
            assert len(members) >= wanted, f"{part}/{name}: {len(members)} images, {wanted} wanted"
            chosen += [(rank(m), label, m) for m in members[:wanted]]
        for _, label, member in sorted(chosen):
            this_header, scan = split(files[member], member)
            header = header or this_header
            assert this_header == header, f"{member}: its JPEG header differs from the others'"
            records.append(struct.pack("<BH", label, len(scan)) + scan)

    counts = [n * len(NAMES) for n in PER_CLASS.values()]
    out = b"PLEACH01" + struct.pack("<III", len(header), *counts) + header + b"".join(records)
    Path(sys.argv[2]).write_bytes(out)
    print(f"{sys.argv[2]}: {len(out)} bytes, SHA-256 {hashlib.sha256(out).hexdigest()}")


if __name__ == "__main__":
    main()
