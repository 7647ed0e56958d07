"""A store of items with prices and a queue by priority."""

from shelf.queue import PriorityQueue
from shelf.store import Store

__all__ = ["PriorityQueue", "Store"]
