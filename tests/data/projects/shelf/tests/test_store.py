import pytest


def test_length(store):
    assert len(store) == 4


def test_add(store):
    store.add("pen")
    assert store.items == {"pen": 4, "book": 1}
    store.add("ink", 5)
    with pytest.raises(ValueError, match="full"):
        store.add("ink")
    with pytest.raises(ValueError, match="positive"):
        store.add("ink", 0)


def test_remove(store):
    store.remove("pen", 2)
    assert store.items["pen"] == 1
    store.remove("book")
    assert "book" not in store.items
    with pytest.raises(KeyError):
        store.remove("pen", 2)


def test_total(store):
    assert store.total() == 1860
    assert store.total(discount=10) == 1674


def test_cheapest(store):
    store.add("nib", price=120)
    store.add("gift")
    assert store.cheapest() == ["nib", "pen", "book"]
    assert store.cheapest(1) == ["nib"]
