-- grain: job
-- rule: the price is strictly under the limit and the category is one of the benchmark's
SELECT *,
    CASE WHEN price_usd IS NULL THEN 'unknown_price'
         WHEN price_usd >= $max_price_usd THEN 'price_at_or_over_limit'
         WHEN price_usd < 0 THEN 'unknown_price'
         WHEN $categories IS NOT NULL AND category IS NULL THEN 'unknown_category'
         WHEN $categories IS NOT NULL AND NOT list_contains($categories, category) THEN 'category_out_of_scope'
         END AS code,
    concat_ws(', ', coalesce('$' || price_usd, 'price unknown'), category) AS observed,
    'under $' || $max_price_usd || coalesce(', category in ' || array_to_string($categories, ', '), '') AS threshold
FROM single_milestone_jobs
