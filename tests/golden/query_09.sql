-- PREDICT LIST_DISTINCT(order_items.product_id, 0, 14, days) RANK TOP 8 FOR EACH customers.customer_id
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    u1."customer_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    LIST_SORT(ARRAY_AGG(DISTINCT r0."product_id") FILTER(WHERE
      NOT r0."product_id" IS NULL)) AS "v0"
  FROM main."order_items" AS r0
  INNER JOIN main."orders" AS u1
    ON r0."order_id" = u1."order_id"
  WHERE
    EPOCH_US(r0."placed_at") > 1675555200000000
    AND EPOCH_US(r0."placed_at") <= 1684540800000000
    AND (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) % 2592000000000 < 1209600000000
  GROUP BY
    1,
    2
)
SELECT
  e."customer_id" AS "pkey",
  a."t" AS "seed_time",
  g0."v0" AS "label"
FROM main."customers" AS e
CROSS JOIN anchors AS a
INNER JOIN g0
  ON g0."id" = e."customer_id" AND g0."k" = a."k"
WHERE
  (
    EPOCH_US(e."signup_at") IS NULL OR EPOCH_US(e."signup_at") <= a."t"
  )
  AND NOT (
    g0."v0"
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
