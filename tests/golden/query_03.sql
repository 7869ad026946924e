-- PREDICT SUM(orders.total, 0, 12, months) FOR EACH customers.customer_id WHERE EXISTS(orders.*, -12, 0, months)
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), w0 AS (
  SELECT
    *
  FROM (VALUES
    (0, 1675555200000000, 1644019200000000),
    (1, 1678147200000000, 1646611200000000),
    (2, 1680739200000000, 1649203200000000),
    (3, 1683331200000000, 1651795200000000)) AS n(k, upto, after)
), w1 AS (
  SELECT
    *
  FROM (VALUES
    (0, 1707091200000000, 1675555200000000),
    (1, 1709769600000000, 1678147200000000),
    (2, 1712361600000000, 1680739200000000),
    (3, 1714953600000000, 1683331200000000)) AS n(k, upto, after)
), g0 AS (
  SELECT
    r0."customer_id" AS "id",
    w."k" AS "k",
    COUNT(*) AS "v0"
  FROM main."orders" AS r0
  INNER JOIN w0 AS w
    ON EPOCH_US(r0."placed_at") > w."after" AND EPOCH_US(r0."placed_at") <= w."upto"
  GROUP BY
    1,
    2
), g1 AS (
  SELECT
    r0."customer_id" AS "id",
    w."k" AS "k",
    SUM(NULLIF(r0."total", CAST('NaN' AS DOUBLE))) AS "v0"
  FROM main."orders" AS r0
  INNER JOIN w1 AS w
    ON EPOCH_US(r0."placed_at") > w."after" AND EPOCH_US(r0."placed_at") <= w."upto"
  GROUP BY
    1,
    2
)
SELECT
  e."customer_id" AS "pkey",
  a."t" AS "seed_time",
  CAST(COALESCE(g1."v0", 0) AS DOUBLE) AS "label"
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
