"""The schema of the language's examples, with a small random database whose rows fall on the borders of windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from graphlearn.schema import Column, Database, ForeignKey, Schema, Table, connect

DAY = 86_400_000_000
START = int(pd.Timestamp("2022-01-01").value // 1000)
END = START + 1_000 * DAY

_TABLES = {
    "customers": ("customer_id", {}, "signup_at", ["country", "plan", "age"]),
    "products": ("product_id", {}, "created_at", ["category", "brand", "price"]),
    "orders": ("order_id", {"customer_id": "customers"}, "placed_at", ["status", "total", "channel"]),
    "order_items": (
        "item_id", {"order_id": "orders", "product_id": "products"}, "placed_at", ["qty", "unit_price"]
    ),
    "visits": ("visit_id", {"customer_id": "customers"}, "started_at", ["duration_s", "device"]),
    "reviews": (
        "review_id", {"customer_id": "customers", "product_id": "products"}, "created_at", ["rating"]
    ),
    "returns": ("return_id", {"order_id": "orders", "customer_id": "customers"}, "created_at", ["reason"]),
    "coupons": ("coupon_id", {"customer_id": "customers"}, "sent_at", ["discount"]),
}  # fmt: skip

SCHEMA = Schema(
    "shop",
    {
        name: Table(
            name,
            (pkey,),
            tuple(ForeignKey((column,), table) for column, table in fkeys.items()),
            time_col,
            null_time="keep",
            columns=tuple(Column(c) for c in (pkey, *fkeys, time_col, *others)),
        )
        for name, (pkey, fkeys, time_col, others) in _TABLES.items()
    },
)


def make_tables(seed: int = 0, *, customers: int = 24, orders: int = 220) -> dict[str, pd.DataFrame]:
    """The tables; times are whole half days, some are NULL, as are some keys and values."""
    rng = np.random.default_rng(seed)
    products = 8

    def times(count: int, days: int = 1_000) -> pd.Series[Any]:
        made = pd.Series((START + rng.integers(0, 2 * days, count) * (DAY // 2)).astype("datetime64[us]"))
        return made.mask(rng.random(count) < 0.04)

    def some(values: list[Any], count: int, dtype: str) -> pd.Series[Any]:
        return pd.Series(rng.choice(values, count)).astype(dtype).mask(rng.random(count) < 0.1)

    def key(most: int, count: int) -> pd.Series[Any]:
        return pd.Series(rng.integers(1, most + 1, count), dtype="Int64").mask(rng.random(count) < 0.03)

    numbers = [float(q) / 4 for q in range(1, 400)]
    items, visits, reviews, few = 2 * orders, 2 * orders, orders, orders // 2
    return {
        "customers": pd.DataFrame(
            {
                "customer_id": range(1, customers + 1),
                "country": some(["DE", "FR", "US"], customers, "str"),
                "plan": some(["free", "pro"], customers, "str"),
                "age": some(list(range(18, 80)), customers, "Int64"),
                "signup_at": times(customers, 500),
            }
        ),
        "products": pd.DataFrame(
            {
                "product_id": range(1, products + 1),
                "category": some(["toys", "food"], products, "str"),
                "brand": some(["x", "y", "z"], products, "str"),
                "price": some(numbers, products, "float64"),
                "created_at": times(products, 300),
            }
        ),
        "orders": pd.DataFrame(
            {
                "order_id": range(1, orders + 1),
                "customer_id": key(customers, orders),
                "placed_at": times(orders),
                "status": some(["completed", "cancelled", "open"], orders, "str"),
                "total": some(numbers, orders, "float64"),
                "channel": some(["web", "app", "shop"], orders, "str"),
            }
        ),
        "order_items": pd.DataFrame(
            {
                "item_id": range(1, items + 1),
                "order_id": key(orders, items),
                "product_id": key(products, items),
                "placed_at": times(items),
                "qty": some([1, 2, 3], items, "Int64"),
                "unit_price": some(numbers, items, "float64"),
            }
        ),
        "visits": pd.DataFrame(
            {
                "visit_id": range(1, visits + 1),
                "customer_id": key(customers, visits),
                "started_at": times(visits),
                "duration_s": some(list(range(1, 900)), visits, "Int64"),
                "device": some(["mobile", "desktop"], visits, "str"),
            }
        ),
        "reviews": pd.DataFrame(
            {
                "review_id": range(1, reviews + 1),
                "customer_id": key(customers, reviews),
                "product_id": key(products, reviews),
                "created_at": times(reviews),
                "rating": some([1, 2, 3, 4, 5], reviews, "Int64"),
            }
        ),
        "returns": pd.DataFrame(
            {
                "return_id": range(1, few + 1),
                "order_id": key(orders, few),
                "customer_id": key(customers, few),
                "created_at": times(few),
                "reason": some(["late", "broken"], few, "str"),
            }
        ),
        "coupons": pd.DataFrame(
            {
                "coupon_id": range(1, few + 1),
                "customer_id": key(customers, few),
                "sent_at": times(few),
                "discount": some([5, 10], few, "Int64"),
            }
        ),
    }


def open_shop(tables: dict[str, pd.DataFrame]) -> Database:
    """The tables as a database."""
    return connect(tables, schema=SCHEMA, threads=1)
