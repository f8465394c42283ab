"""Code links: repositories named in texts, the Papers-with-Code archive, Hugging Face and GitHub."""
