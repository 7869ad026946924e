-- PREDICT customers.plan FOR EACH customers.customer_id WHERE customers.country IN ('DE','FR')
SELECT
  e."customer_id" AS "pkey",
  EPOCH_US(e."signup_at") AS "seed_time",
  e."plan" AS "label"
FROM main."customers" AS e
WHERE
  (
    NOT EPOCH_US(e."signup_at") IS NULL AND e."country" IN ('DE', 'FR')
  )
  AND NOT (
    e."plan"
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
