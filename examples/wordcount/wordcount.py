"""Counts the words of a folder's files: map and reduce with many reducers, checked against a plain loop.

    pip install dayfly (or the wheel)
    python wordcount.py [FOLDER] [--reducers 4] [--chunk-bytes 16384] [--top 10]

Without a folder it takes the licences that Debian and its kin carry. Ends with 1 when a count differs. See
docs/examples/wordcount.md.
"""

import argparse
import collections
import re
import sys
import time

import dayfly

FOLDER = "/usr/share/common-licenses"
WORD = re.compile(r"[A-Za-z']+")


def words(piece):
    """Each word of a piece with a 1. Bytes that are no UTF-8 are no letters either."""
    for line in piece.lines(errors="replace"):
        for word in WORD.findall(line.lower()):
            yield word, 1


def count(pieces, reducers):
    """{word: how often}: a call for each piece, then one for each reducer, which has its share of the words."""
    return dayfly.map_reduce(words, pieces, sum, reducers=reducers, combine=sum)


def count_here(pieces):
    """The same in this process, from whole files: it shares neither cutting nor reducing with the other."""
    found = collections.Counter()
    for name in dict.fromkeys(piece.name for piece in pieces):
        with open(name, encoding="utf-8", errors="replace", newline="\n") as file:
            found.update(WORD.findall(file.read().lower()))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=FOLDER, help=f"a folder or a glob (default: {FOLDER})")
    parser.add_argument("--reducers", type=int, default=4, help="calls that share the words (default: 4)")
    parser.add_argument("--chunk-bytes", type=int, default=16 << 10, help="about so much text for a call (default: 16384)")
    parser.add_argument("--top", type=int, default=10, help="how many words to print (default: 10)")
    options = parser.parse_args()
    pieces = dayfly.read(options.folder, by="records", chunk_bytes=options.chunk_bytes)
    started = time.monotonic()
    counts = count(pieces, options.reducers)
    seconds = time.monotonic() - started
    expected = count_here(pieces)
    print(f"{sum(counts.values()):,} words, {len(counts):,} different ones, in {len({piece.name for piece in pieces})} files")
    print(f"{len(pieces)} calls to count, {options.reducers} reducers, {seconds:.2f} s")
    for word, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: options.top]:
        print(f"{number:8,}  {word}")
    same = counts == expected
    print("identical to a plain loop" if same else "DIFFERENT from a plain loop")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
