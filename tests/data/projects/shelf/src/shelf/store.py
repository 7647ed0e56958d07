"""Items, how many there are, and what they cost in cents."""


class Store:
    """How many of each item there are."""

    def __init__(self, capacity=100):
        self.capacity = capacity
        self.items = {}
        self.prices = {}

    def __len__(self):
        return sum(self.items.values())

    def add(self, name, count=1, price=None):
        """Put items in. Raises ValueError if they do not fit."""
        if count < 1:
            raise ValueError("count must be positive")
        if len(self) + count > self.capacity:
            raise ValueError("the store is full")
        self.items[name] = self.items.get(name, 0) + count
        if price is not None:
            self.prices[name] = price

    def remove(self, name, count=1):
        """Take items out. Raises KeyError if there are fewer."""
        if self.items.get(name, 0) < count:
            raise KeyError(name)
        self.items[name] -= count
        if not self.items[name]:
            del self.items[name]

    def total(self, discount=0):
        """The price of all, less a discount in percent, rounded down."""
        whole = sum(self.prices.get(name, 0) * count for name, count in self.items.items())
        return whole * (100 - discount) // 100

    def cheapest(self, most=3):
        """The names of the cheapest items, by price and then by name."""
        priced = [(self.prices[name], name) for name in self.items if name in self.prices]
        return [name for _, name in sorted(priced)[:most]]
