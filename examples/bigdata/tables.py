"""The two tables of the benchmark, made up: the same bytes for the same size, on every machine and in every order.

Schema (all of it text, comma-separated): rankings(pageURL, pageRank, avgDuration), uservisits(sourceIP, destURL,
visitDate, adRevenue, userAgent, countryCode, languageCode, searchWord, duration).
"""

import datetime
import hashlib
import random

# Rows as in the published data: 155 million visits for 18 million pages.
VISITS_PER_PAGE = 155 / 18
# What a page and its visits are in bytes, on average; measured on the output.
PAGE_BYTES = 63.0 + VISITS_PER_PAGE * 147.9
PAGES_PER_OBJECT = 200_000
VISITS_PER_OBJECT = 100_000

FIRST_DAY = datetime.date(1970, 1, 1)
DAYS = [str(FIRST_DAY + datetime.timedelta(days=day)) for day in range(42 * 365)]
AGENTS = [
    f"{browser}/{version}.0 ({system})"
    for browser in ("Mozilla", "Opera", "Lynx")
    for version in range(1, 8)
    for system in ("X11; Linux x86_64", "Windows NT 6.1; WOW64", "Macintosh; Intel Mac OS X 10_8")
]
COUNTRIES = [("USA", "en-US"), ("GBR", "en-GB"), ("DEU", "de-DE"), ("FRA", "fr-FR"), ("JPN", "ja-JP"), ("BRA", "pt-BR")]
SYLLABLES = ["ba", "den", "fi", "gor", "ka", "lum", "mi", "nor", "pe", "ros", "su", "tal", "ve", "zim"]
WORDS = [first + second + third for first in SYLLABLES for second in SYLLABLES for third in SYLLABLES]


def plan(size_bytes):
    """The objects of both tables for about `size_bytes`: (table, number, rows, pages in all)."""
    pages = max(1, round(size_bytes / PAGE_BYTES))
    visits = round(pages * VISITS_PER_PAGE)
    found = []
    for table, rows, step in (("rankings", pages, PAGES_PER_OBJECT), ("uservisits", visits, VISITS_PER_OBJECT)):
        found += [(table, at // step, min(step, rows - at), pages) for at in range(0, rows, step)]
    return found


def text(table, number, rows, pages):
    """The rows of an object."""
    # Seeded by text, so that no two objects have random numbers in common.
    source = random.Random(f"{table} {number}")
    lines = _rankings(source, number, rows) if table == "rankings" else _visits(source, rows, pages)
    return "\n".join(lines) + "\n"


def _url(page):
    name = hashlib.blake2b(b"%d" % page, digest_size=20).hexdigest()
    return f"http://{name[:8]}.example/{name[8:]}"


def _rankings(source, number, rows):
    first = number * PAGES_PER_OBJECT
    for page in range(first, first + rows):
        # One page in 2,700 has a rank above 1,000, one in 27 above 100: the shares of the published data.
        rank = int(19.2 / (1.0 - source.random()) ** 0.5)
        yield f"{_url(page)},{rank},{1 + int(source.random() * 100)}"


def _visits(source, rows, pages):
    days, agents = source.choices(DAYS, k=rows), source.choices(AGENTS, k=rows)
    places, words = source.choices(COUNTRIES, k=rows), source.choices(WORDS, k=rows)
    # Some visits are to pages that have no rank.
    known = pages * 17 // 16 + 1
    for day, agent, (country, language), word in zip(days, agents, places, words):
        a, b, c, d = source.getrandbits(32).to_bytes(4, "big")
        url = _url(int(source.random() * known))
        revenue, duration = source.random(), 1 + int(source.random() * 10)
        yield f"{a}.{b}.{c}.{d},{url},{day},{revenue:.6f},{agent},{country},{language},{word},{duration}"
