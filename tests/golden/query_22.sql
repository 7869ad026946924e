-- PREDICT SUM(order_items.qty, 0, 7, days) FORECAST 4 TIMEFRAMES FOR EACH products.product_id
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    r0."product_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    SUM(r0."qty") AS "v0"
  FROM main."order_items" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1675555200000000
    AND EPOCH_US(r0."placed_at") <= 1683936000000000
    AND (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) % 2592000000000 < 604800000000
  GROUP BY
    1,
    2
), g1 AS (
  SELECT
    r0."product_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1676160000000001
    ) // 2592000000000 AS "k",
    SUM(r0."qty") AS "v0"
  FROM main."order_items" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1676160000000000
    AND EPOCH_US(r0."placed_at") <= 1684540800000000
    AND (
      EPOCH_US(r0."placed_at") - 1676160000000001
    ) % 2592000000000 < 604800000000
  GROUP BY
    1,
    2
), g2 AS (
  SELECT
    r0."product_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1676764800000001
    ) // 2592000000000 AS "k",
    SUM(r0."qty") AS "v0"
  FROM main."order_items" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1676764800000000
    AND EPOCH_US(r0."placed_at") <= 1685145600000000
    AND (
      EPOCH_US(r0."placed_at") - 1676764800000001
    ) % 2592000000000 < 604800000000
  GROUP BY
    1,
    2
), g3 AS (
  SELECT
    r0."product_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1677369600000001
    ) // 2592000000000 AS "k",
    SUM(r0."qty") AS "v0"
  FROM main."order_items" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1677369600000000
    AND EPOCH_US(r0."placed_at") <= 1685750400000000
    AND (
      EPOCH_US(r0."placed_at") - 1677369600000001
    ) % 2592000000000 < 604800000000
  GROUP BY
    1,
    2
)
SELECT
  e."product_id" AS "pkey",
  a."t" AS "seed_time",
  [
    CAST(COALESCE(g0."v0", 0) AS DOUBLE),
    CAST(COALESCE(g1."v0", 0) AS DOUBLE),
    CAST(COALESCE(g2."v0", 0) AS DOUBLE),
    CAST(COALESCE(g3."v0", 0) AS DOUBLE)
  ] AS "label"
FROM main."products" AS e
CROSS JOIN anchors AS a
LEFT JOIN g0
  ON g0."id" = e."product_id" AND g0."k" = a."k"
LEFT JOIN g1
  ON g1."id" = e."product_id" AND g1."k" = a."k"
LEFT JOIN g2
  ON g2."id" = e."product_id" AND g2."k" = a."k"
LEFT JOIN g3
  ON g3."id" = e."product_id" AND g3."k" = a."k"
WHERE
  (
    EPOCH_US(e."created_at") IS NULL OR EPOCH_US(e."created_at") <= a."t"
  )
ORDER BY
  "seed_time",
  "pkey"
