"""The three queries of the benchmark, as maps and reductions over pieces of its tables."""

import dayfly

# A call computes: it gets the memory for which there is a whole processor.
SETTINGS = {"memory": 1769}
REDUCERS = 4


def scan(rankings, above):
    """SELECT pageURL, pageRank FROM rankings WHERE pageRank > above"""

    def of_piece(piece):
        rows = (line.split(",") for line in piece.lines())
        return [(url, int(rank)) for url, rank, _ in rows if int(rank) > above]

    return [row for rows in dayfly.map(of_piece, rankings, **SETTINGS) for row in rows]


def aggregate(visits, letters):
    """SELECT SUBSTR(sourceIP, 1, letters), SUM(adRevenue) FROM uservisits GROUP BY 1; as a dictionary"""

    def of_piece(piece):
        for line in piece.lines():
            address, _, _, revenue, _ = line.split(",", 4)
            yield address[:letters], float(revenue)

    return dayfly.map_reduce(of_piece, visits, sum, reducers=REDUCERS, combine=sum, **SETTINGS)


def join(rankings, visits, until):
    """SELECT sourceIP, SUM(adRevenue) AS totalRevenue, AVG(pageRank) FROM rankings, uservisits WHERE pageURL = destURL
    AND visitDate BETWEEN '1980-01-01' AND until GROUP BY sourceIP ORDER BY totalRevenue DESC LIMIT 1

    The smaller table is a dictionary that the function refers to: it is sent once, and all calls share it.
    """
    ranks = {}
    for part in dayfly.map(lambda piece: dict(row.split(",")[:2] for row in piece.lines()), rankings, **SETTINGS):
        ranks.update((url, int(rank)) for url, rank in part.items())

    def of_piece(piece):
        for line in piece.lines():
            address, url, day, revenue, _ = line.split(",", 4)
            if "1980-01-01" <= day <= until and url in ranks:
                yield address, (float(revenue), ranks[url], 1)

    def add(parts):
        return tuple(map(sum, zip(*parts)))

    totals = dayfly.map_reduce(of_piece, visits, add, reducers=REDUCERS, combine=add, **SETTINGS)
    if not totals:
        return None
    address, (revenue, rank, count) = max(totals.items(), key=lambda item: item[1][0])
    return address, revenue, rank / count
