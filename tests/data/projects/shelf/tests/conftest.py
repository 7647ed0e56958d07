import pytest
from shelf import Store


@pytest.fixture
def store():
    store = Store(capacity=10)
    store.add("pen", 3, price=120)
    store.add("book", 1, price=1500)
    return store
