"""Farthest-point sampling: few members that represent a whole grid."""

import math

from phinas.scaling_search.grid.grid_member import GridMember, interval_midpoint


def farthest_point_sample(members: list[GridMember], count: int) -> list[GridMember]:
    """At most `count` members far apart in (log alpha, log beta, log gamma), in their order.

    The first is the most balanced one; each next is the farthest from all selected so far.
    """
    if len(members) <= count:
        return members
    points = [
        [
            math.log(interval_midpoint(interval))
            for interval in (member.alpha, member.beta, member.gamma)
        ]
        for member in members
    ]
    indices = [min(range(len(points)), key=lambda index: max(points[index]) - min(points[index]))]
    distances = [math.dist(point, points[indices[0]]) for point in points]
    while len(indices) < count:
        indices.append(max(range(len(points)), key=distances.__getitem__))
        distances = [
            min(distance, math.dist(point, points[indices[-1]]))
            for distance, point in zip(distances, points, strict=True)
        ]
    return [members[index] for index in sorted(indices)]
