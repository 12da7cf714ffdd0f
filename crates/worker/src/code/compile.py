"""Byte-compiles a function's Python sources. Run by its own interpreter, on untrusted sources.

Arguments: the tree, the folder that the tree will be seen at, and the number of a socket. Reads the names of the
sources, relative to the tree and each ended by a NUL byte, from the socket until its end. Writes for each source, as
soon as it is compiled, its place among the names (from 0), the bytecode's length, both four bytes little-endian, and
the bytecode. A source that does not compile is left out.
"""

import importlib.util
import marshal
import os
import struct
import sys
from importlib.machinery import SourceFileLoader

tree, root, socket = sys.argv[1:4]
socket = open(int(socket), "r+b", buffering=0)
names = b"".join(iter(lambda: socket.read(65536), b"")).split(b"\0")[:-1]
# Hash-based and unchecked (PEP 552): the tree cannot change, so no import needs to look at the source at all.
UNCHECKED_HASH = 1
for number, name in enumerate(map(os.fsdecode, names)):
    try:
        loader = SourceFileLoader("__main__", os.path.join(tree, name))
        source = loader.get_data(loader.path)
        code = marshal.dumps(loader.source_to_code(source, os.path.join(root, name)))
    except Exception:
        continue
    head = importlib.util.MAGIC_NUMBER + struct.pack("<I", UNCHECKED_HASH) + importlib.util.source_hash(source)
    rest = memoryview(struct.pack("<II", number, len(head) + len(code)) + head + code)
    while rest:
        rest = rest[socket.write(rest) :]
