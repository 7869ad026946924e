-- PREDICT customers.age FOR EACH customers.customer_id
SELECT
  e."customer_id" AS "pkey",
  EPOCH_US(e."signup_at") AS "seed_time",
  CAST(e."age" AS DOUBLE) AS "label"
FROM main."customers" AS e
WHERE
  NOT EPOCH_US(e."signup_at") IS NULL AND NOT (
    e."age"
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
