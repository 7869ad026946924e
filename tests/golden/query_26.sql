-- PREDICT COUNT(orders.*, 0, 30, days) > 0 FOR EACH customers.customer_id ASSUMING COUNT(coupons.*, 0, 7, days) > 0
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    r0."customer_id" AS "id",
    (
      EPOCH_US(r0."sent_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    COUNT(*) AS "v0"
  FROM main."coupons" AS r0
  WHERE
    EPOCH_US(r0."sent_at") > 1675555200000000
    AND EPOCH_US(r0."sent_at") <= 1683936000000000
    AND (
      EPOCH_US(r0."sent_at") - 1675555200000001
    ) % 2592000000000 < 604800000000
  GROUP BY
    1,
    2
), g1 AS (
  SELECT
    r0."customer_id" AS "id",
    (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) // 2592000000000 AS "k",
    COUNT(*) AS "v0"
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
  COALESCE(g1."v0", 0) > 0 AS "label"
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
