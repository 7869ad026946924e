"""A shop's database that knows the truth about itself: every order rate is a known function of rows already written.

    python datasets/shop/generate.py --out data/shop --seed 0        # a RelBench 3 folder, its sizes, and the ceiling

Time runs in blocks of 30 days. At the start of a block each customer has a balance, summed over the rows so far:

    balance = goodwill left by order items (half-life 60 days)    what an item leaves depends on the item, two tables
                                                                  away, and on its product, three tables away
            + interest shown by visits (half-life 15 days)        one table away
            - trouble with returns, by reason (75 days)           two tables away
            + a welcome after the sign-up (40 days)

Orders then arrive in the block as a Poisson process with ``rate = TOP * exp(own) * sigmoid(SLOPE * balance - MIDDLE)``,
where ``own`` is a weak function of the customer's own columns. So "no order within 30 days of the block's start" has
exactly the probability ``exp(-rate * season)``, and no score can expect a higher AUROC than this one: `best_auroc`.
The state holds nothing that the tables do not show, except how often a product is defective: brands and the returns of
all its buyers reveal that. Every block draws from its own random stream and reads no later block, so a longer database
begins with the shorter one. One file, although long, because it is loaded by its path.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

HERE = Path(__file__).parent
SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
BLOCK = 30  # days: length of a block, horizon of the task, distance between its anchors
START = int(np.datetime64("2023-06-17", "us").astype(np.int64))
VAL, TEST = 34, 36  # blocks at whose start validation and test begin
DAYS = (TEST + 1) * BLOCK + 1  # the day after the test window shows that the window is complete

# Everything that decides when a customer comes back.
HALF_LIFE = {"goodwill": 60.0, "interest": 15.0, "trouble": 75.0}  # days
TOP, MIDDLE, SLOPE = 3.0, 2.6, 1.1
ORDER_GOODWILL, ITEM_GOODWILL, DEFECT_COST, DISCOUNT_COST = 0.15, 0.5, 2.5, 1.5
PAGE_INTEREST = 0.12
WELCOME, WELCOME_DAYS = 2.0, 40.0
CHANNELS = {"search": 0.0, "social": -0.12, "friend": 0.15, "affiliate": -0.15, "newspaper": 0.06}
NEWSLETTER, AGE = 0.08, 0.06  # AGE: per 15 years older than the mean
REASONS = {"defective": 1.9, "not as described": 1.6, "arrived late": 1.6, "wrong size": 0.15, "changed mind": 0.15}
NO_REASON = 0.9  # trouble of a return whose reason is not given
TASTE = (0.6, 0.2)  # share of items from the favourite and from the second department; the rest follows fashion
DRIFT = 0.25  # share of customers who find a new favourite department in a block: nobody is loyal for ever

DEVICES = ["phone", "desktop", "tablet"]
PAYMENTS = ["card", "wallet", "invoice", "bank transfer"]
SHIPPING, PROMISED_DAYS, FEES = ["standard", "express", "pickup point"], np.array([5, 1, 3]), np.array([3.9, 8.9, 0.0])
REFERRERS = ["search engine", "newsletter", "social network", "price comparison", "partner site"]
COUPONS = ["WELCOME5", "THANKYOU", "SPRING10", "SUMMER15", "BLACKWEEK"]
DEPTHS = np.array([0.1, 0.15, 0.2, 0.3, 0.5])  # discounts


@dataclass(frozen=True)
class Shop:
    """The tables, the probability of no order within 30 days of each anchor, and what each customer likes then."""

    tables: dict[str, pa.Table]
    anchors: NDArray[np.int64]  # microseconds UTC, the start of each block
    churn: NDArray[np.float64]  # [anchors, customers]; NaN before the sign-up
    taste: NDArray[np.int64]  # [anchors, customers, 2]: favourite and second department; -1 before the sign-up
    demand: NDArray[np.float64]  # [anchors, departments, products]: shares of a department's sales
    fashion: NDArray[np.float64]  # [anchors, departments]: where those buy who follow no taste of their own

    def preference(self, time: int, customers: Array) -> NDArray[np.float64]:
        """How likely each product is to be the next item that each customer buys, ``[customers, products]``.

        Of all orders of the products that could be known at ``time``, this one is right most often.
        """
        block = int(np.searchsorted(self.anchors, time, side="right")) - 1
        favourite, second = self.taste[block][customers].T
        demand = self.demand[block]
        mixed = TASTE[0] * demand[favourite] + TASTE[1] * demand[second]
        return np.asarray(mixed + (1 - sum(TASTE)) * (self.fashion[block] @ demand))


def generate(seed: int = 0, customers: int = 4000, *, days: int = DAYS) -> dict[str, pa.Table]:
    """Makes the tables: categories, products, customers, orders, order_items, returns, visits.

    Args:
        seed: Seed of every draw; the same seed gives the same bytes.
        customers: Customers at the end of the default period; all sizes but the catalogue's follow from it.
        days: Length of the period. A longer one begins with the rows of a shorter one.
    """
    return simulate(seed, customers, days=days).tables


def simulate(seed: int = 0, customers: int = 4000, *, days: int = DAYS) -> Shop:
    """Makes the tables and the truth behind them, block by block; costs ``O(rows + customers * blocks)``."""
    if customers < 1 or days < 1:
        raise ValueError(f"'customers' and 'days' must be at least 1, got {customers} and {days}.")
    words = yaml.safe_load((HERE / "catalogue.yaml").read_text(encoding="utf-8"))
    blocks = -(-days // BLOCK)
    season = _season(blocks * BLOCK)
    shelf = _Shelf(words, np.random.default_rng([seed, 0]))
    people: Columns = {}
    pending: Columns = {}  # returns that are still on their way
    parts: dict[str, list[Columns]] = {}
    balance = {name: np.zeros(0) for name in HALF_LIFE}
    churn, num_orders = [], 0
    taste, demand, fashion = [], [], []

    for block in range(blocks):
        rng = np.random.default_rng([seed, 1 + block])
        now, end = START + block * BLOCK * DAY, START + (block + 1) * BLOCK * DAY
        shelf.add(now, rng)
        people = _append(people, _arrivals(block, customers, words, rng))
        total = len(people["time"])
        moved = rng.random(total) < DRIFT
        people["second"] = np.where(moved, people["favourite"], people["second"])
        people["favourite"] = np.where(moved, rng.integers(0, shelf.departments, total), people["favourite"])
        balance = {name: np.pad(value, (0, total - len(value))) for name, value in balance.items()}

        # The rate is fixed here, from rows of earlier blocks only; who signs up in the block starts the day after.
        progress = np.append(0.0, np.cumsum(season[block * BLOCK : (block + 1) * BLOCK]) / BLOCK)
        clock = _Clock(now, progress, progress[np.maximum((people["time"] - now) // DAY + 1, 0)])
        rate = _rate(people, balance, now)
        taste.append(np.stack([people["favourite"], people["second"]], axis=1))
        demand.append(shelf.demand(now))
        fashion.append(shelf.pull(now))
        churn.append(np.where(people["time"] < now, np.exp(-rate * clock.left()), np.nan))

        orders = _orders(people, rate * clock.left(), clock, rng)
        items = _items(orders, people, shelf, clock, rng)
        visits = _visits(orders, people, rate, clock, rng)
        sent = _returns(orders, items, shelf, rng)
        for part in (items, sent):
            part["order"] = part["order"] + num_orders
        num_orders += len(orders["time"])
        pending = _append(pending, sent)
        due = pending["time"] <= end
        returns, pending = _sorted(_where(pending, due)), _where(pending, ~due)
        for table, part in {"orders": orders, "order_items": items, "returns": returns, "visits": visits}.items():
            parts.setdefault(table, []).append(part)
        for name, part in (("goodwill", items), ("trouble", returns), ("interest", visits)):
            fresh = part["effect"] * 0.5 ** ((end - part["time"]) / (HALF_LIFE[name] * DAY))
            balance[name] = balance[name] * 0.5 ** (BLOCK / HALF_LIFE[name])
            balance[name] += np.bincount(part["customer"], fresh, total)

    stop = START + days * DAY
    facts = {table: _append(*pieces) for table, pieces in parts.items()}
    facts |= {"products": shelf.rows, "customers": people}
    facts = {table: _where(columns, columns["time"] < stop) for table, columns in facts.items()}
    width = len(facts["customers"]["time"])
    truth = [np.pad(row[:width], (0, max(width - len(row), 0)), constant_values=np.nan) for row in churn]
    liked = [np.pad(row[:width], ((0, max(width - len(row), 0)), (0, 0)), constant_values=-1) for row in taste]
    range_ = len(facts["products"]["time"])
    sold = [np.pad(shares[:, :range_], ((0, 0), (0, max(range_ - shares.shape[1], 0)))) for shares in demand]
    return Shop(
        _tables(facts, words), START + np.arange(blocks) * BLOCK * DAY, np.stack(truth), np.stack(liked),
        np.stack(sold), np.stack(fashion),
    )  # fmt: skip


def labels(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """The churn labels of each split, made with the task's own SQL, sorted by time and customer."""
    task = yaml.safe_load((HERE / "churn.yaml").read_text(encoding="utf-8"))
    sql = task["sql"].replace("{timedelta}", task["timedelta"])
    blocks = {"train": range(VAL), "val": range(VAL, TEST), "test": range(TEST, TEST + 1)}
    made = {}
    with duckdb.connect() as con:
        con.register("orders", tables["orders"])
        for split, numbers in blocks.items():
            times = pa.array([START + number * BLOCK * DAY for number in numbers], pa.timestamp("us"))
            con.register("timestamps", pa.table({"timestamp": times}))
            made[split] = con.sql(f"SELECT * FROM ({sql}) ORDER BY timestamp, customer_id").to_arrow_table()
    return made


def best_auroc(seed: int = 0, customers: int = 4000, *, shop: Shop | None = None) -> dict[str, float]:
    """The AUROC of the true probabilities on the labels that came true, for each split.

    Of all scores made from rows up to the anchor this one has the highest expected AUROC. Each split's anchors see all
    rows up to themselves; test has one anchor, the cut, so that ``frozen`` and ``rolling`` are the same there.
    """
    shop = simulate(seed, customers) if shop is None else shop
    best = {}
    for split, table in labels(shop.tables).items():
        row = np.searchsorted(shop.anchors, table["timestamp"].cast(pa.int64()).to_numpy())
        score = shop.churn[row, table["customer_id"].to_numpy()]
        best[split] = _auroc(score, table["churn"].to_numpy())
    return best


def write(folder: str | Path, seed: int = 0, customers: int = 4000) -> Shop:
    """Writes a RelBench 3 folder: manifest.yaml, db/*.parquet, and the task ``churn`` with its stored labels.

    ``manifest.yaml`` comes last: a folder that lacks it was interrupted, and no reader takes it for a database.

    Raises:
        FileExistsError: If the folder exists and is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"'{folder}' is not empty. Name a new folder, or remove this one first.")
    shop = simulate(seed, customers)
    task = folder / "tasks" / "churn"
    (folder / "db").mkdir(parents=True, exist_ok=True)
    task.mkdir(parents=True)
    for name, table in shop.tables.items():
        pq.write_table(table, folder / "db" / f"{name}.parquet", compression="zstd")
    for split, table in labels(shop.tables).items():
        pq.write_table(table, task / f"{split}.parquet", compression="zstd")
    shutil.copyfile(HERE / "churn.yaml", task / "manifest.yaml")
    shutil.copyfile(HERE / "manifest.yaml", folder / "manifest.yaml")
    return shop


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the folder, then prints the number of rows of each table and the ceiling."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--customers", type=int, default=4000)
    args = parser.parse_args(argv)
    shop = write(args.out, args.seed, args.customers)
    for name, table in shop.tables.items():
        print(f"{name:12} {table.num_rows:>8,} rows")
    for split, value in best_auroc(shop=shop).items():
        print(f"best AUROC that anyone can expect on churn, {split}: {value:.4f}")


def _season(days: int) -> NDArray[np.float64]:
    """Orders of each day relative to a mean day: weekends, the weeks before Christmas, a quiet summer."""
    date = (np.datetime64(START, "us") + np.arange(days) * np.timedelta64(1, "D")).astype("datetime64[D]")
    weekday = (date.astype(np.int64) + 3) % 7  # 0 is Monday: day 0 of the calendar was a Thursday
    year_day = (date - date.astype("datetime64[Y]")).astype(np.int64)
    christmas = 0.45 * np.exp(-(((year_day - 340) / 18.0) ** 2))
    summer = -0.15 * np.exp(-(((year_day - 205) / 25.0) ** 2))
    return np.asarray(np.array([1.0, 0.93, 0.92, 0.96, 1.0, 1.09, 1.1])[weekday] * np.exp(christmas + summer))


def _arrivals(block: int, customers: int, words: Mapping[str, Any], rng: np.random.Generator) -> Columns:
    """The customers who sign up in the block: a rush in the first weeks, then about as many every day."""
    day = np.arange(block * BLOCK, (block + 1) * BLOCK + 1)
    rush, steady = 0.12, 0.88
    share = (rush * (1 - np.exp(-day / 45)) + steady * day / DAYS) / (rush * (1 - np.exp(-DAYS / 45)) + steady)
    reached = np.rint(customers * share).astype(np.int64)
    time = START + np.repeat(day[:-1], np.diff(reached)) * DAY
    time = np.sort(time + _time_of_day(len(time), rng))
    size, departments = len(time), len(words["departments"])
    people: Columns = {
        "time": time,
        "channel": rng.choice(len(CHANNELS), size, p=[0.38, 0.24, 0.14, 0.16, 0.08]),
        "city": rng.integers(0, sum(map(len, words["regions"].values())), size),
        "newsletter": rng.random(size) < 0.45,
        "birth_year": np.clip(np.rint(rng.normal(1982, 13, size)), 1940, 2006).astype(np.int64),
        "age_unknown": rng.random(size) < 0.12,
        "device": rng.choice(len(DEVICES), size, p=[0.55, 0.37, 0.08]),
        "payment": rng.choice(len(PAYMENTS), size, p=[0.45, 0.3, 0.17, 0.08]),
        "deals": rng.beta(1.0, 3.0, size),
        "favourite": rng.integers(0, departments, size),
        "second": rng.integers(0, departments, size),
        "starts": rng.random(size) < 0.7,
    }
    age = np.where(people["age_unknown"], 0.0, (1980 - people["birth_year"]) / 15)
    channel = np.array(list(CHANNELS.values()))[people["channel"]]
    people["own"] = channel + NEWSLETTER * people["newsletter"] + AGE * age
    return people


def _rate(people: Columns, balance: Mapping[str, Array], now: int) -> NDArray[np.float64]:
    """Orders expected in 30 mean days, for each customer; the formula at the top of this file."""
    welcome = WELCOME * 0.5 ** (np.maximum(now - people["time"], 0) / (WELCOME_DAYS * DAY))
    total = balance["goodwill"] + balance["interest"] - balance["trouble"] + welcome
    return np.asarray(TOP * np.exp(people["own"]) / (1.0 + np.exp(MIDDLE - SLOPE * total)))


@dataclass(frozen=True)
class _Clock:
    """Draws moments of one block: season by day, nothing before a customer's first whole day."""

    now: int
    progress: NDArray[np.float64]  # [31] season summed up to each day of the block, 30 mean days = 1
    opening: NDArray[np.float64]  # [customers] progress at each customer's first whole day

    def left(self) -> NDArray[np.float64]:
        return np.asarray(self.progress[-1] - self.opening)

    def draw(self, customer: Array, rng: np.random.Generator) -> NDArray[np.int64]:
        opening = self.opening[customer]
        at = opening + rng.random(len(customer)) * (self.progress[-1] - opening)
        day = np.clip(np.searchsorted(self.progress, at, side="right") - 1, 0, BLOCK - 1)
        return np.asarray(self.now + day * DAY + _time_of_day(len(customer), rng))


def _orders(people: Columns, expected: Array, clock: _Clock, rng: np.random.Generator) -> Columns:
    """Poisson orders, and the first order of most who sign up in the block, minutes after they did."""
    customer = np.repeat(np.arange(len(expected)), rng.poisson(expected))
    starter = np.flatnonzero(people["starts"] & (people["time"] >= clock.now))
    time = np.append(clock.draw(customer, rng), people["time"][starter] + rng.integers(60, 900, len(starter)) * SECOND)
    orders = _sorted({"time": time, "customer": np.append(customer, starter)})
    size, who = len(time), orders["customer"]
    deals, month = people["deals"][who], _month(orders["time"])
    coupon = np.select([month == 11, month == 4, month == 7], [4, 2, 3], default=1)
    coupon = np.where(orders["time"] - people["time"][who] < DAY, 0, coupon)
    return orders | {
        "device": _mostly(people["device"][who], len(DEVICES), 0.75, rng),
        "payment": _mostly(people["payment"][who], len(PAYMENTS), 0.85, rng),
        "shipping": rng.choice(len(SHIPPING), size, p=[0.7, 0.16, 0.14]),
        "coupon": np.where(rng.random(size) < 0.08 + 0.5 * deals, coupon, -1),
        "late": rng.random(size) < np.where(month == 12, 0.06, 0.02),
    }


def _items(orders: Columns, people: Columns, shelf: "_Shelf", clock: _Clock, rng: np.random.Generator) -> Columns:
    """One to six items an order, mostly from the customer's two favourite departments."""
    order = np.repeat(np.arange(len(orders["time"])), np.minimum(1 + rng.poisson(0.9, len(orders["time"])), 6))
    time, who = orders["time"][order], orders["customer"][order]
    taste, luck = rng.random(len(order)), shelf.fashion(clock.now, rng.random(len(order)))
    other = np.where(taste < sum(TASTE), people["second"][who], luck)
    department = np.where(taste < TASTE[0], people["favourite"][who], other)
    product = shelf.pick(department, clock.now, rng.random(len(order)))
    years = (time - START) / (365.25 * DAY)
    sale = np.isin(_month(time), (1, 7, 11)) * 0.12
    depth = DEPTHS[rng.choice(len(DEPTHS), len(order), p=[0.3, 0.2, 0.25, 0.17, 0.08])]
    discount = np.where(rng.random(len(order)) < 0.05 + sale + 0.7 * people["deals"][who], depth, 0.0)
    value = shelf.loyalty[department] + shelf.trend[department] * years
    value = value - DEFECT_COST * shelf.rows["defect"][product] - DISCOUNT_COST * discount
    first = np.append(True, order[1:] != order[:-1])[: len(order)]
    return {
        "time": time,
        "customer": who,
        "order": order,
        "product": product,
        "department": department,
        "quantity": 1 + rng.poisson(0.25, len(order)),
        "price": np.round(shelf.rows["price"][product] * (1 + 0.03 * years) * (1 - discount), 2),
        "discount": discount,
        "effect": ITEM_GOODWILL * value + ORDER_GOODWILL * first,
    }


def _returns(orders: Columns, items: Columns, shelf: "_Shelf", rng: np.random.Generator) -> Columns:
    """Items that come back 3 to 25 days later: defective, late, or just not wanted."""
    size, order, product = len(items["time"]), items["order"], items["product"]
    defect, late, mind = shelf.rows["defect"][product], 0.5 * orders["late"][order], shelf.mind[items["department"]]
    cause = np.cumsum([0.65 * defect, 0.2 * defect, late, 0.5 * mind, 0.5 * mind], axis=0)
    reason = (rng.random(size) >= cause).sum(axis=0)
    days = 3 + 22 * rng.beta(1.5, 3.0, size)
    silent = rng.random(size) < 0.06
    back = np.flatnonzero(reason < len(REASONS))
    trouble = np.array(list(REASONS.values()))[reason[back]]
    return {
        "time": items["time"][back] + (days[back] * DAY // SECOND * SECOND).astype(np.int64),
        "customer": items["customer"][back],
        "order": order[back],
        "product": product[back],
        "reason": np.where(silent[back], -1, reason[back]),
        "refund": np.round(items["price"][back] * items["quantity"][back], 2),
        "effect": np.where(silent[back], NO_REASON, trouble),
    }


def _visits(orders: Columns, people: Columns, rate: Array, clock: _Clock, rng: np.random.Generator) -> Columns:
    """The visit that leads to each order, and visits without one: more of them where orders are likely."""
    eager = rng.lognormal(-0.3, 0.8, len(rate)) * (0.4 + 1.8 * np.sqrt(rate))
    browsing = np.repeat(np.arange(len(rate)), rng.poisson(eager * clock.left()))
    before = rng.integers(120, 2400, len(orders["time"])) * SECOND
    bought = np.append(np.ones(len(before), dtype=bool), np.zeros(len(browsing), dtype=bool))
    customer = np.append(orders["customer"], browsing)
    time = np.maximum(np.append(orders["time"] - before, clock.draw(browsing, rng)), people["time"][customer])
    visits = _sorted({"time": time, "customer": customer, "bought": bought})
    who, size = visits["customer"], len(time)
    pages = rng.geometric(np.where(visits["bought"], 0.12, 0.28)) + 2 * visits["bought"]
    referrer = rng.choice(len(REFERRERS), size, p=[0.42, 0.22, 0.16, 0.12, 0.08])
    unread = (referrer == 1) & ~people["newsletter"][who]
    return {
        "time": visits["time"],
        "customer": who,
        "device": _mostly(people["device"][who], len(DEVICES), 0.75, rng),
        "referrer": np.where(unread | (rng.random(size) < 0.35), -1, referrer),
        "pages": pages,
        "seconds": np.rint(pages * rng.lognormal(3.3, 0.6, size)).astype(np.int64),
        "effect": PAGE_INTEREST * np.log1p(pages),
    }


class _Shelf:
    """The products: drawn as time goes on, with a defect rate that only returns and brands reveal."""

    def __init__(self, words: Mapping[str, Any], rng: np.random.Generator) -> None:
        departments = words["departments"]
        self.loyalty, self.trend, self.mind, self.peak, self.swing, self.price, self.weight = (
            np.array([float(department[key]) for department in departments])
            for key in ("loyalty", "trend", "mind", "peak", "swing", "price", "weight")
        )
        self.words = words
        self.departments = len(departments)
        self.brands, self.categories = len(departments[0]["brands"]), len(departments[0]["categories"])  # of each one
        self.brand_defect = rng.beta(1.0, 11.0, (self.departments, self.brands))
        self.rows: Columns = {}

    def add(self, now: int, rng: np.random.Generator) -> None:
        """New products of a block; the opening day brings most of the range."""
        opening = not self.rows
        size = 45 * self.departments if opening else 8
        time = np.full(size, now) if opening else now + np.sort(rng.integers(0, BLOCK, size)) * DAY
        department = np.arange(size) % self.departments if opening else rng.integers(0, self.departments, size)
        brand = rng.integers(0, self.brands, size)
        defect = self.brand_defect[department, brand] * rng.lognormal(0.0, 0.35, size)
        self.rows = _append(
            self.rows,
            {
                "time": time + 300 * SECOND,
                "department": department,
                "brand": brand,
                "category": rng.integers(0, self.categories, size),
                "noun": rng.random(size),
                "adjective": rng.integers(0, len(self.words["adjectives"]), size),
                "variant": rng.integers(0, len(self.words["variants"]), size),
                "material": rng.integers(0, len(self.words["materials"]), size),
                "use": rng.integers(0, len(self.words["uses"]), size),
                "price": np.round(self.price[department] * rng.lognormal(0.0, 0.45, size), 1) - 0.01,
                "weight": np.round(self.weight[department] * rng.lognormal(0.0, 0.4, size), 2),
                "undescribed": rng.random(size) < 0.08,
                "unweighed": rng.random(size) < 0.05,
                "defect": np.minimum(defect, 0.5),
                "popularity": rng.pareto(1.3, size) + 0.3,
            },
        )

    def fashion(self, now: int, luck: Array) -> NDArray[np.int64]:
        """A department for each number in [0, 1)."""
        pull = self.pull(now)
        return np.searchsorted(np.cumsum(pull), luck, side="right").clip(max=len(pull) - 1)

    def pull(self, now: int) -> NDArray[np.float64]:
        """Share of each department: each has its season, and one that loses loyalty also loses buyers."""
        years = (now - START) / (365.25 * DAY)
        month = 1 + 12 * (years + 0.46) % 12  # the shop opens in the middle of June
        season = self.swing * np.cos(2 * np.pi * (month - self.peak) / 12)
        pull = np.exp(season + 0.4 * np.minimum(self.trend, 0.0) * years)
        return np.asarray(pull / pull.sum())

    def demand(self, now: int) -> NDArray[np.float64]:
        """Share of each product in the sales of each department, ``[departments, products]``."""
        open_now = self.rows["time"] <= now + 300 * SECOND
        mine = self.rows["department"] == np.arange(self.departments)[:, None]
        popularity = np.where(mine & open_now, self.rows["popularity"], 0.0)
        return np.asarray(popularity / popularity.sum(axis=1, keepdims=True))

    def pick(self, department: Array, now: int, luck: Array) -> NDArray[np.int64]:
        """A product of each department, by popularity, among those on sale when the block starts."""
        product = np.zeros(len(department), dtype=np.int64)
        for number in range(self.departments):
            choice = np.flatnonzero((self.rows["department"] == number) & (self.rows["time"] <= now + 300 * SECOND))
            here = np.flatnonzero(department == number)
            pull = np.cumsum(self.rows["popularity"][choice])
            product[here] = choice[np.searchsorted(pull, luck[here] * pull[-1], side="right").clip(max=len(choice) - 1)]
        return product


def _tables(facts: Mapping[str, Columns], words: Mapping[str, Any]) -> dict[str, pa.Table]:
    """Arrow tables from the drawn columns; keys are 0..n-1 in row order, and rows are in order of time."""
    departments = words["departments"]
    products, people, orders = facts["products"], facts["customers"], facts["orders"]
    items, returns, visits = facts["order_items"], facts["returns"], facts["visits"]

    names = [department["name"] for department in departments]
    children = [(number, name) for number, department in enumerate(departments) for name in department["categories"]]
    categories = {
        "category_id": np.arange(len(names) + len(children)),
        "parent_id": pa.array([None] * len(names) + [number for number, _ in children], pa.int64()),
        "name": names + [name for _, name in children],
    }
    # Every department has as many categories, and as many brands, as the next.
    kind = products["department"] * (len(children) // len(names)) + products["category"]
    nouns = [departments[number]["categories"][name] for number, name in children]
    sizes = np.array([len(choice) for choice in nouns])
    noun = (np.cumsum(sizes) - sizes)[kind] + (products["noun"] * sizes[kind]).astype(np.int64)
    noun = _text([word for choice in nouns for word in choice], noun)
    brands = [brand for department in departments for brand in department["brands"]]
    brand = _text(brands, products["department"] * (len(brands) // len(names)) + products["brand"])
    adjective, material = (_text(words[name + "s"], products[name]) for name in ("adjective", "material"))
    variant, use = (_text(words[name + "s"], products[name]) for name in ("variant", "use"))
    description = _join(adjective, " ", noun, " by ", brand, ", made with ", material, ". Good for ", use, ".")
    warranty = [department["warranty"] for department in departments]

    cities = [city for region in words["regions"].values() for city in region]
    region_of = [name for name, region in words["regions"].items() for _ in region]
    number = pc.utf8_lpad(pc.cast(pa.array(np.arange(len(people["time"]))), pa.string()), 5, "0")
    columns: dict[str, dict[str, Any]] = {
        "categories": categories,
        "products": {
            "product_id": np.arange(len(products["time"])),
            "category_id": len(names) + kind,
            "added_at": _time(products["time"]),
            "title": _join(brand, " ", noun, ", ", variant),
            "brand": brand,
            "description": pc.if_else(pa.array(products["undescribed"]), None, description),
            "list_price": products["price"],
            "weight_kg": pa.array(products["weight"], mask=products["unweighed"]),
            "warranty_months": pa.array(warranty, pa.int64()).take(pa.array(products["department"])),
        },
        "customers": {
            "customer_id": np.arange(len(people["time"])),
            "signed_up_at": _time(people["time"]),
            "handle": _join("customer-", number),
            "city": _text(cities, people["city"]),
            "region": _text(region_of, people["city"]),
            "birth_year": pa.array(people["birth_year"], mask=people["age_unknown"]),
            "channel": _text(list(CHANNELS), people["channel"]),
            "newsletter": people["newsletter"],
        },
        "orders": {
            "order_id": np.arange(len(orders["time"])),
            "customer_id": orders["customer"],
            "ordered_at": _time(orders["time"]),
            "payment": _text(PAYMENTS, orders["payment"]),
            "device": _text(DEVICES, orders["device"]),
            "shipping": _text(SHIPPING, orders["shipping"]),
            "promised_days": PROMISED_DAYS[orders["shipping"]],
            "shipping_fee": FEES[orders["shipping"]],
            "coupon": _text(COUPONS, orders["coupon"]),
        },
        "order_items": {
            "item_id": np.arange(len(items["time"])),
            "order_id": items["order"],
            "product_id": items["product"],
            "ordered_at": _time(items["time"]),
            "quantity": items["quantity"],
            "unit_price": items["price"],
            "discount": items["discount"],
        },
        "returns": {
            "return_id": np.arange(len(returns["time"])),
            "order_id": returns["order"],
            "product_id": returns["product"],
            "returned_at": _time(returns["time"]),
            "reason": _text(list(REASONS), returns["reason"]),
            "refund": returns["refund"],
        },
        "visits": {
            "visit_id": np.arange(len(visits["time"])),
            "customer_id": visits["customer"],
            "visited_at": _time(visits["time"]),
            "device": _text(DEVICES, visits["device"]),
            "referrer": _text(REFERRERS, visits["referrer"]),
            "pages": visits["pages"],
            "seconds": pa.array(visits["seconds"], mask=visits["pages"] == 1),
        },
    }
    return {name: pa.table(column) for name, column in columns.items()}


def _time(microseconds: Array) -> pa.Array:
    return pa.array(microseconds, pa.timestamp("us"))


def _text(words: Sequence[str], index: Array) -> pa.Array:
    """The word of each index; -1 is NULL."""
    return pa.array(words, pa.string()).take(pa.array(index, pa.int64(), mask=index < 0))


def _join(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _time_of_day(size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Seconds between 06:00 and 23:40: no event lies on an anchor, and no first order slips into the next day."""
    return np.rint(21_600 + 63_600 * rng.beta(2.2, 1.8, size)).astype(np.int64) * SECOND


def _month(time: Array) -> NDArray[np.int64]:
    return time.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1


def _mostly(usual: Array, kinds: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """The usual kind with this probability, else any."""
    return np.where(rng.random(len(usual)) < share, usual, rng.integers(0, kinds, len(usual)))


def _append(*parts: Columns) -> Columns:
    parts = tuple(part for part in parts if part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _where(columns: Columns, keep: Array) -> Columns:
    return {name: value[keep] for name, value in columns.items()}


def _sorted(columns: Columns) -> Columns:
    order = np.argsort(columns["time"], kind="stable")
    return {name: value[order] for name, value in columns.items()}


def _auroc(score: Array, label: Array) -> float:
    """Share of (1, 0) pairs in the right order, ties counted half; NaN if a class is missing."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    ones = int(label.sum())
    zeros = len(label) - ones
    if ones == 0 or zeros == 0:
        return float("nan")
    return float((rank[label == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


if __name__ == "__main__":
    main()
