-- PREDICT reviews.rating >= 4 FOR EACH reviews.review_id AS OF ENTITY
SELECT
  e."review_id" AS "pkey",
  EPOCH_US(e."created_at") AS "seed_time",
  e."rating" >= 4 AS "label"
FROM main."reviews" AS e
WHERE
  NOT EPOCH_US(e."created_at") IS NULL AND NOT (
    e."rating" >= 4
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
