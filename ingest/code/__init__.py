"""Code as a source: repositories named in texts, the Papers with Code archive, and the forges' own data."""
