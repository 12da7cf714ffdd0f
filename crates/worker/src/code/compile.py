"""Byte-compiles a function's Python sources. Run by its own interpreter, on untrusted sources.

Arguments: the tree, the output folder, and the folder that the tree will be seen at. Reads the names of the sources,
relative to the tree and each ended by a NUL byte, from the file `sources` in the output folder, and writes the bytecode
of the n-th one, counted from 0, to `n.pyc`. A source that does not compile is left out.
"""

import py_compile
import os
import sys

# Waits until the parent has set this process's limits and closed the pipe.
sys.stdin.buffer.read()
tree, output, root = sys.argv[1:4]
with open(os.path.join(output, "sources"), "rb") as file:
    names = file.read().split(b"\0")[:-1]
for number, name in enumerate(map(os.fsdecode, names)):
    try:
        # Unchecked: the tree cannot change, so no import needs to look at the source at all.
        py_compile.compile(
            os.path.join(tree, name),
            cfile=os.path.join(output, "%d.pyc" % number),
            dfile=os.path.join(root, name),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except Exception:
        continue
