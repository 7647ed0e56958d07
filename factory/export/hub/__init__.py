"""Publishing to the Hugging Face Hub, with a dataset card."""
