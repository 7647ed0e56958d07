"""A queue by priority; equal ones come in the order they were put."""

import heapq


class PriorityQueue:
    """The least priority comes first."""

    def __init__(self):
        self._heap = []
        self._count = 0

    def put(self, item, priority=0):
        heapq.heappush(self._heap, (priority, self._count, item))
        self._count += 1

    def get(self):
        """The first item. Raises IndexError if there is none."""
        if not self._heap:
            raise IndexError("the queue is empty")
        return heapq.heappop(self._heap)[2]

    def peek(self, default=None):
        if not self._heap:
            return default
        return self._heap[0][2]

    def drain(self, most=None):
        """Items in their order, up to a number."""
        found = []
        while self._heap and (most is None or len(found) < most):
            found.append(self.get())
        return found
