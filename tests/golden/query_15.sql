-- PREDICT EXISTS(returns.*, 0, 30, days) FOR EACH customers.customer_id WHERE COUNT(orders.*, -30, 0, days) > 0
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    r0."customer_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1672963200000001
    ) // 2592000000000 AS "k",
    COUNT(*) AS "v0"
  FROM main."orders" AS r0
  WHERE
    EPOCH_US(r0."placed_at") > 1672963200000000
    AND EPOCH_US(r0."placed_at") <= 1683331200000000
  GROUP BY
    1,
    2
), g1 AS (
  SELECT
    r0."customer_id" AS "id",
    (
      EPOCH_US(r0."created_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    COUNT(*) AS "v0"
  FROM main."returns" AS r0
  WHERE
    EPOCH_US(r0."created_at") > 1675555200000000
    AND EPOCH_US(r0."created_at") <= 1685923200000000
  GROUP BY
    1,
    2
)
SELECT
  e."customer_id" AS "pkey",
  a."t" AS "seed_time",
  NOT g1."v0" IS NULL AS "label"
FROM main."customers" AS e
CROSS JOIN anchors AS a
INNER JOIN g0
  ON g0."id" = e."customer_id" AND g0."k" = a."k"
LEFT JOIN g1
  ON g1."id" = e."customer_id" AND g1."k" = a."k"
WHERE
  (
    EPOCH_US(e."signup_at") IS NULL OR EPOCH_US(e."signup_at") <= a."t"
  )
  AND g0."v0" > 0
ORDER BY
  "seed_time",
  "pkey"
