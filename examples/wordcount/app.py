"""Word count in two functions of one package: `map` counts the words of a text, `reduce` adds counts up."""

import collections
import re

WORD = re.compile(r"[A-Za-z']+")


def map_handler(event, context):
    """event: {"name": file name, "text": its text}; returns {"name", "words", "counts"}."""
    counts = collections.Counter(word.lower() for word in WORD.findall(event["text"]))
    return {"name": event["name"], "words": counts.total(), "counts": counts}


def reduce_handler(event, context):
    """event: a list of what `map_handler` returned; returns {"words", "counts"}."""
    total = collections.Counter()
    for part in event:
        total.update(part["counts"])
    return {"words": total.total(), "counts": total}
