-- grain: job
-- rule: the price is strictly under the limit and the category is one of the benchmark's; the first fact that is unknown
--       or wrong decides
SELECT *,
    -- nobody is paid nothing or less: 0 stands for a price that nobody wrote down
    CASE WHEN price_usd IS NULL OR NOT isfinite(price_usd) OR price_usd <= 0 THEN 'unknown_price'
         WHEN price_usd >= $max_price_usd THEN 'price_at_or_over_limit'
         WHEN $categories IS NOT NULL AND category IS NULL THEN 'unknown_category'
         WHEN $categories IS NOT NULL AND NOT list_contains($categories, category) THEN 'category_out_of_scope'
         END AS code,
    coalesce(dollars(price_usd), 'price unknown') || ', ' || coalesce(category, 'category unknown') AS observed,
    coalesce('under ' || dollars($max_price_usd), 'any price')
        || coalesce(', category in ' || array_to_string($categories, ' or '), '') AS threshold
FROM single_milestone_jobs
