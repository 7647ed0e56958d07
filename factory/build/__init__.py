"""The only room where sampling meets judging: recipe → corpus."""
