-- PREDICT (NOT customers.country = 'US') AND customers.age > 40 FOR EACH customers.customer_id
SELECT
  e."customer_id" AS "pkey",
  EPOCH_US(e."signup_at") AS "seed_time",
  (
    NOT (
      e."country" = 'US'
    ) AND e."age" > 40
  ) AS "label"
FROM main."customers" AS e
WHERE
  NOT EPOCH_US(e."signup_at") IS NULL
  AND NOT (
    (
      NOT (
        e."country" = 'US'
      ) AND e."age" > 40
    )
  ) IS NULL
ORDER BY
  "seed_time",
  "pkey"
