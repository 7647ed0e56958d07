"""Search over steps: trees of continuations, and the policies that grow them."""
