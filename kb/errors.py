"""Errors that the library raises; each message says what to do next.

KnowledgeBaseError
├── IdentifierError      a text that is no identifier
│   └── ImpossibleError  a well-formed identifier that cannot exist
├── SourceError          a file or feed that cannot be read at all
├── StoreError           the knowledge base's own files are missing, damaged or newer than this program
│   ├── BusyError        another job is writing to the knowledge base
│   ├── DamagedError     the user's own file is damaged
│   ├── DiskFullError    there is no room to write
│   └── NewerError       a newer version of this program wrote it
├── ModelError           a model that cannot be loaded, or is not the one the index was built with
├── ClusterError         machines that cannot be reached, or that lost the work
└── QueryError           an invalid query or filter
"""


class KnowledgeBaseError(Exception):
    """Base of every error that this project raises on purpose."""


class IdentifierError(KnowledgeBaseError):
    """A text that is no identifier of a paper."""


class ImpossibleError(IdentifierError):
    """A well-formed identifier that cannot exist: a typing error."""


class SourceError(KnowledgeBaseError):
    """A file or feed that cannot be read at all; a single bad record is reported, not raised."""


class StoreError(KnowledgeBaseError):
    """The knowledge base's own files are missing, damaged, or written by a newer version."""


class BusyError(StoreError):
    """Another job holds the knowledge base open for writing."""


class DamagedError(StoreError):
    """The user's own file is damaged; it cannot be made again, only restored."""


class DiskFullError(StoreError):
    """There is no room on the disk, or the user's quota is used up; what is there can still be read."""


class NewerError(StoreError):
    """A newer version of this program wrote the file."""


class ModelError(KnowledgeBaseError):
    """A model that cannot be loaded, or that is not the one which the index was built with."""


class ClusterError(KnowledgeBaseError):
    """A cluster that cannot be reached, or that lost the same work repeatedly."""


class QueryError(KnowledgeBaseError):
    """An invalid query or filter."""
