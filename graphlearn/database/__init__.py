"""Sources of tables, opened read-only; the only folder that opens DuckDB connections."""

from graphlearn.database.open import open_source
from graphlearn.database.source import DeclaredKey, Source
from graphlearn.database.sql import is_time, literal, quote, quote_all, time_us
from graphlearn.database.url import redact

__all__ = ["DeclaredKey", "Source", "is_time", "literal", "open_source", "quote", "quote_all", "redact", "time_us"]
