"""What a recipe says of its engine and its teachers."""
