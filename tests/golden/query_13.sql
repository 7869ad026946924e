-- PREDICT LAST(orders.status, 0, 30, days) = 'cancelled' FOR EACH customers.customer_id
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    r0."customer_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    ARG_MAX(r0."status", (EPOCH_US(r0."placed_at"), r0."order_id")) AS "v0"
  FROM main."orders" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1675555200000000
    AND EPOCH_US(r0."placed_at") <= 1685923200000000
  GROUP BY
    1,
    2
)
SELECT
  e."customer_id" AS "pkey",
  a."t" AS "seed_time",
  g0."v0" = 'cancelled' AS "label"
FROM main."customers" AS e
CROSS JOIN anchors AS a
INNER JOIN g0
  ON g0."id" = e."customer_id" AND g0."k" = a."k"
WHERE
  (
    EPOCH_US(e."signup_at") IS NULL OR EPOCH_US(e."signup_at") <= a."t"
  )
  AND NOT (
    g0."v0" = 'cancelled'
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
