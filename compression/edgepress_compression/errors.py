"""Every error that compression raises on purpose, as one tree.

::

    EdgepressError
    ├── ArtifactError                 an artifact that is damaged, foreign, too large, or cannot be written
    ├── GraphError                    a model that cannot be read, or holds what we cannot compress
    ├── DatasetError                  a data set that cannot be read, or does not fit the model
    ├── TrainingError                 a training that cannot begin, or that went to pieces
    ├── RecipeError                   a recipe that is unknown, malformed, or asks for what cannot be done
    ├── SearchError                   a search that cannot begin or go on
    │   └── BudgetError               a budget that is malformed or cannot be meant
    └── CompressionCancelledError     the person who started the job took it back

Messages are for people: what is wrong, where, and what to do next. Attributes carry the facts.
"""


class EdgepressError(Exception):
    """Base of all errors raised on purpose; its text may be shown to a person as it is."""


class ArtifactError(EdgepressError):
    """An artifact that cannot be read or written.

    ``section`` names the part at fault ("file", "header", "skeleton", "probe", or ``tensor 'name'``) and
    ``reason`` says what is wrong with it.
    """

    def __init__(self, section: str, reason: str) -> None:
        super().__init__(f"{section}: {reason}")
        self.section = section
        self.reason = reason


class GraphError(EdgepressError):
    """A model cannot be read, or holds something that cannot be compressed."""


class DatasetError(EdgepressError):
    """A data set cannot be read, or does not fit the model."""


class RecipeError(EdgepressError):
    """A recipe is unknown, malformed, or asks for what cannot be done."""


class SearchError(EdgepressError):
    """A search for a recipe cannot begin or go on; the message says what to change."""


class BudgetError(SearchError):
    """A budget is malformed. ``field`` is the limit at fault ("latency", "size", ...)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TrainingError(EdgepressError):
    """A training cannot begin, or went to pieces; the message says what to change."""


class CompressionCancelledError(EdgepressError):
    """The person who started the compression took it back."""

    def __init__(self) -> None:
        super().__init__("The compression was cancelled; start it again to get an artifact.")
