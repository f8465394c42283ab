"""A paper knowledge base: papers, notes on them, their code, and search over all of it.

    import kb

    base = kb.KnowledgeBase("data/kb")
    base.ingest_notes("bookmarks.md")
    for hit in base.search("attention without recurrence", k=3):
        print(hit.rank, hit.paper.title)

`KnowledgeBase` has a method for every command of the command line. Every error that is raised on purpose is a
`kb.errors.KnowledgeBaseError`. Importing `kb` is cheap: models and indexes are imported by the first method that needs them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kb.api.knowledge_base import KnowledgeBase as KnowledgeBase

__all__ = ["KnowledgeBase", "__version__"]

__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    """Import the facade when it is first asked for."""
    if name == "KnowledgeBase":
        from kb.api.knowledge_base import KnowledgeBase

        return KnowledgeBase
    raise AttributeError(f"module 'kb' has no attribute {name!r}")
