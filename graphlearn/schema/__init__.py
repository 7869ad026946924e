"""What the tables mean: read from a manifest, from declared keys, or inferred from all rows."""

from graphlearn.schema.connect import Database, connect
from graphlearn.schema.schema import Column, ForeignKey, Schema, Table

__all__ = ["Column", "Database", "ForeignKey", "Schema", "Table", "connect"]
