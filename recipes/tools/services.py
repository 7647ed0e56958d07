"""Two simulated services: a shop and its mail. Each public method is a tool."""

from __future__ import annotations


class Shop:
    """Prices and stock by item, and orders by number."""

    def __init__(self, stock: dict[str, int], prices: dict[str, float]) -> None:
        self.stock, self.prices = stock, prices
        self.orders: dict[str, dict[str, object]] = {}

    def find_item(self, item: str) -> dict[str, object]:
        """Look up the price of an item and how many are left.

        item: its name
        """
        if item not in self.stock:
            return {"error": f"there is no item {item!r}"}
        return {"item": item, "price": self.prices[item], "left": self.stock[item]}

    def order(self, item: str, count: int = 1) -> dict[str, object]:
        """Order an item. Returns the number of the order.

        item: its name
        count: how many
        """
        if self.stock.get(item, 0) < count:
            return {"error": f"fewer than {count} of {item!r} are left"}
        self.stock[item] -= count
        number = f"W{len(self.orders) + 1}"
        self.orders[number] = {"item": item, "count": count, "state": "ordered"}
        return {"order": number}

    def cancel(self, order: str) -> str:
        """Cancel an order.

        order: its number
        """
        found = self.orders[order]  # an unknown number raises, which the model reads as an error
        found["state"] = "cancelled"
        self.stock[str(found["item"])] += int(str(found["count"]))
        return "cancelled"


class Mail:
    """Messages that were sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []

    def send(self, to: str, text: str) -> str:
        """Send a message.

        to: the receiver's name
        text: what to say
        """
        self.sent.append({"to": to, "text": text})
        return "sent"
