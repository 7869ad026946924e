-- PREDICT COUNT(orders.*, 0, 24, hours) > 0 FOR EACH customers.customer_id WHERE LAST(visits.device, -1, 0, days) = 'mobile' EVERY 6 hours
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    r0."customer_id" AS "id",
    (
      EPOCH_US(r0."started_at") - 1675468800000001
    ) // 2592000000000 AS "k",
    ARG_MAX(r0."device", (EPOCH_US(r0."started_at"), r0."visit_id")) AS "v0"
  FROM main."visits" AS r0
  WHERE
    EPOCH_US(r0."started_at") > 1675468800000000
    AND EPOCH_US(r0."started_at") <= 1683331200000000
    AND (
      EPOCH_US(r0."started_at") - 1675468800000001
    ) % 2592000000000 < 86400000000
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
    AND EPOCH_US(r0."placed_at") <= 1683417600000000
    AND (
      EPOCH_US(r0."placed_at") - 1675555200000001
    ) % 2592000000000 < 86400000000
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
  AND g0."v0" = 'mobile'
ORDER BY
  "seed_time",
  "pkey"
