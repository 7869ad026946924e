-- PREDICT AVG(reviews.rating, 0, 90, days) < 3 FOR EACH products.product_id
WITH anchors AS (
  SELECT
    n."k",
    1675555200000000 + n."k" * 2592000000000 AS "t"
  FROM RANGE(4) AS n("k")
), g0 AS (
  SELECT
    x."id",
    x."k",
    AVG(x."x0") AS "v0"
  FROM (
    SELECT
      r0."product_id" AS "id",
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
      r0."rating" AS "x0"
    FROM main."reviews" AS r0
    WHERE
      EPOCH_US(r0."created_at") > 1675555200000000
      AND EPOCH_US(r0."created_at") <= 1691107200000000
  ) AS x
  GROUP BY
    1,
    2
)
SELECT
  e."product_id" AS "pkey",
  a."t" AS "seed_time",
  g0."v0" < 3 AS "label"
FROM main."products" AS e
CROSS JOIN anchors AS a
INNER JOIN g0
  ON g0."id" = e."product_id" AND g0."k" = a."k"
WHERE
  (
    EPOCH_US(e."created_at") IS NULL OR EPOCH_US(e."created_at") <= a."t"
  )
  AND NOT (
    g0."v0" < 3
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
