"""Minimum cuts of small directed graphs, by the algorithm of Dinic.

E. A. Dinic, "Algorithm for solution of a problem of maximum flow in networks with power estimation", Soviet Mathematics
Doklady 11 (1970): blocking flows along shortest paths, as many rounds as there are lengths of such paths.
"""

from __future__ import annotations

__all__ = ["ENDLESS", "Network"]

ENDLESS = 1 << 62  # a capacity that no cut contains


class Network:
    """A directed graph whose edges have capacities, integers from 0 on. Node 0 is the source, node 1 the sink."""

    def __init__(self) -> None:
        self.edges: list[list[int]] = [[], []]  # of each node, as positions in the two lists that follow
        self.ends: list[int] = []
        self.room: list[int] = []  # what an edge can still take; an edge and its reverse are neighbours, 2k and 2k + 1

    def node(self) -> int:
        self.edges.append([])
        return len(self.edges) - 1

    def edge(self, start: int, end: int, capacity: int) -> None:
        self.edges[start].append(len(self.ends))
        self.edges[end].append(len(self.ends) + 1)
        self.ends += (end, start)
        self.room += (capacity, 0)

    def source_side(self) -> list[bool]:
        """For each node, whether it is on the source's side of the minimum cut nearest to the source.

        Lets the maximum flow run first. Raises `ValueError` where every cut contains an endless edge.
        """
        while True:
            level = self._levels()
            if level[1] < 0:
                return [steps >= 0 for steps in level]
            self._block(level)

    def _levels(self) -> list[int]:
        """The least number of edges with room from the source to each node; -1 where there is no way."""
        level = [-1] * len(self.edges)
        level[0] = 0
        reached = [0]
        for node in reached:  # grows
            for edge in self.edges[node]:
                end = self.ends[edge]
                if self.room[edge] and level[end] < 0:
                    level[end] = level[node] + 1
                    reached.append(end)
        return level

    def _block(self, level: list[int]) -> None:
        """Send flow along shortest paths until none has room."""
        ends, room = self.ends, self.room
        untried = [list(edges) for edges in self.edges]
        path: list[int] = []
        node = 0
        while True:
            if node == 1:
                flow = min(room[edge] for edge in path)
                if flow >= ENDLESS:
                    raise ValueError("every cut contains an endless edge")
                for edge in path:
                    if room[edge] < ENDLESS:
                        room[edge] -= flow
                    room[edge ^ 1] += flow
                first = next(i for i, edge in enumerate(path) if not room[edge])
                node = ends[path[first] ^ 1]
                del path[first:]
                continue
            while untried[node]:
                edge = untried[node][-1]
                if room[edge] and level[ends[edge]] == level[node] + 1:
                    path.append(edge)
                    node = ends[edge]
                    break
                untried[node].pop()
            else:
                if not path:
                    return
                node = ends[path.pop() ^ 1]
                untried[node].pop()
