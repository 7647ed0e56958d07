"""GRPO: rollouts, rewards, and the update of the policy."""
