"""The web app: browse, review, move limits."""
