"""SFT, GRPO and reward models, by recipe."""
