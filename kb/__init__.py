"""A paper knowledge base: papers, what notes say of them, their code, and search over all of it."""
