"""PUBLISH: the public marts, copied out of the warehouse for readers, one whole version at a time.

Belongs here: which marts are public (`specs`), what readers may not see (`masking`), whether anything changed
(`content`), how a version is written and switched on, and how to read it (`writer`, `files`). Does not belong
here: what a mart says (`dbt_project/models/marts`), and anything that needs Dagster (`defs/publish`).
"""

from orchestration.publication.specs import MartColumn, MartSpec, PublicationError, mart_specs
from orchestration.publication.writer import Publication, publish

__all__ = ["MartColumn", "MartSpec", "Publication", "PublicationError", "mart_specs", "publish"]
