-- PREDICT orders.total FOR EACH orders.order_id AS OF ENTITY
SELECT
  e."order_id" AS "pkey",
  EPOCH_US(e."placed_at") AS "seed_time",
  CAST(NULLIF(e."total", CAST('NaN' AS DOUBLE)) AS DOUBLE) AS "label"
FROM main."orders" AS e
WHERE
  NOT EPOCH_US(e."placed_at") IS NULL
  AND NOT (
    NULLIF(e."total", CAST('NaN' AS DOUBLE))
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
