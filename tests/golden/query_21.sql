-- PREDICT SUM(order_items.qty, 0, 28, days) FOR EACH products.product_id WHERE COUNT(order_items.*, -28, 0, days) > 0
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    r0."product_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1673136000000001
    ) // 2592000000000 AS "k",
    COUNT(*) AS "v0"
  FROM main."order_items" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1673136000000000
    AND EPOCH_US(r0."placed_at") <= 1683331200000000
    AND (
      EPOCH_US(r0."placed_at") - 1673136000000001
    ) % 2592000000000 < 2419200000000
  GROUP BY
    1,
    2
), g1 AS (
  SELECT
    r0."product_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    SUM(r0."qty") AS "v0"
  FROM main."order_items" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1675555200000000
    AND EPOCH_US(r0."placed_at") <= 1685750400000000
    AND (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) % 2592000000000 < 2419200000000
  GROUP BY
    1,
    2
)
SELECT
  e."product_id" AS "pkey",
  a."t" AS "seed_time",
  CAST(COALESCE(g1."v0", 0) AS DOUBLE) AS "label"
FROM main."products" AS e
CROSS JOIN anchors AS a
INNER JOIN g0
  ON g0."id" = e."product_id" AND g0."k" = a."k"
LEFT JOIN g1
  ON g1."id" = e."product_id" AND g1."k" = a."k"
WHERE
  (
    EPOCH_US(e."created_at") IS NULL OR EPOCH_US(e."created_at") <= a."t"
  )
  AND g0."v0" > 0
ORDER BY
  "seed_time",
  "pkey"
