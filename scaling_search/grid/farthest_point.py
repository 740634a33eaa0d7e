"""Few members that stand for a whole grid: as far apart as they can be."""

import math

from phinas.scaling_search.grid.grid_member import Member, middle


def spread(members: list[Member], count: int) -> list[Member]:
    """At most `count` members that lie far apart in (log alpha, log beta, log gamma), in the order
    given.

    The first is the most balanced one; each next is the farthest from all chosen so far.
    """
    if len(members) <= count:
        return members
    points = [
        [math.log(middle(interval)) for interval in (m.alpha, m.beta, m.gamma)] for m in members
    ]
    chosen = [min(range(len(points)), key=lambda index: max(points[index]) - min(points[index]))]
    gaps = [math.dist(point, points[chosen[0]]) for point in points]
    while len(chosen) < count:
        chosen.append(max(range(len(points)), key=gaps.__getitem__))
        gaps = [
            min(gap, math.dist(point, points[chosen[-1]]))
            for gap, point in zip(gaps, points, strict=True)
        ]
    return [members[index] for index in sorted(chosen)]
