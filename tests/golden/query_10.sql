-- PREDICT LIST_DISTINCT(reviews.product_id WHERE reviews.rating >= 4, 0, 90, days) RANK TOP 5 FOR EACH customers.customer_id
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    x."id",
    x."k",
    LIST_SORT(ARRAY_AGG(DISTINCT x."x0") FILTER(WHERE
      NOT x."x0" IS NULL)) AS "v0"
  FROM (
    SELECT
      r0."customer_id" AS "id",
      UNNEST(
        RANGE(
          GREATEST(0, (
            EPOCH_US(r0."created_at") - 1680739200000001
          ) // 2592000000000),
          LEAST(4, (
            EPOCH_US(r0."created_at") - 1675555200000001
          ) // 2592000000000 + 1)
        )
      ) AS "k",
      r0."product_id" AS "x0"
    FROM main."reviews" AS r0
    WHERE
      (
        EPOCH_US(r0."created_at") > 1675555200000000
        AND EPOCH_US(r0."created_at") <= 1691107200000000
      )
      AND r0."rating" >= 4
  ) AS x
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
