"""EXTRACT and the shape of the input: the contract entities, the mapping onto them, the reading of sources.

Belongs here: reading files, databases and APIs as they are, and the SQL that turns what was sent into contract
entities. Does not belong here: rules about values (`expectations/`), verdicts on loads (`guard/`), Dagster.
"""
