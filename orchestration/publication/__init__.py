"""PUBLISH: the public marts, copied out of the warehouse for readers, one whole version at a time.

Belongs here: which marts are public (`specs`), what readers may not see (`masking`), whether anything changed
(`content`), how a version is written and switched on, and how to read it (`writer`, `files`), what readers are
told when their figures go stale (`current`, `staleness`). Does not belong here: what a mart says
(`dbt_project/models/marts`), and anything that needs Dagster (`defs/publish`).
"""

from orchestration.publication.current import Published, Staleness, open_published
from orchestration.publication.specs import MartColumn, MartSpec, PublicationError, mart_specs
from orchestration.publication.staleness import current_publication, current_staleness, mark
from orchestration.publication.writer import Publication, publish

__all__ = [
    "MartColumn",
    "MartSpec",
    "Publication",
    "PublicationError",
    "Published",
    "Staleness",
    "current_publication",
    "current_staleness",
    "mark",
    "mart_specs",
    "open_published",
    "publish",
]
