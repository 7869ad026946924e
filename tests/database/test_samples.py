"""Chinook, Northwind and Sakila on every server, against their Parquet form: the same tables, keys and labels."""

from __future__ import annotations

import json

import pytest

import graphlearn as gl
from tests.database.samples import NAMES, columns_of, load
