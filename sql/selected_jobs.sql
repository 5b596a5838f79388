-- grain: job
-- rule: of jobs that are alike the earliest; of these, where a size is set, a sample with every category and price band
--       in proportion, drawn by the hash of seed and job, so that a job more or less moves few others
-- quota: jobs of a freeze stay; each stratum has at least one job while there is room; the rest by largest remainder
WITH jobs AS (
    SELECT j.* EXCLUDE (title, description, skills, attachments, assumed_fields),
        c.method, coalesce(c.cluster_id, j.job_id) AS cluster_id, c.similarity,
        f.job_id IS NOT NULL AS frozen,
        coalesce(j.category, 'no category') || ', ' || coalesce(b.band, 'no price') AS stratum
    FROM curated_jobs j
    LEFT JOIN job_clusters c USING (job_id)
    LEFT JOIN (SELECT DISTINCT job_id FROM job_freezes) f USING (job_id)
    LEFT JOIN (
        SELECT job_id,
            CASE WHEN max(low) FILTER (low <= price_usd) IS NULL THEN 'under ' || dollars(min(low))
                 WHEN min(low) FILTER (low > price_usd) IS NULL THEN dollars(max(low)) || ' and over'
                 ELSE dollars(max(low) FILTER (low <= price_usd)) || '-' || dollars(min(low) FILTER (low > price_usd))
                 END AS band
        FROM curated_jobs, (SELECT unnest($price_bands::DOUBLE[]) AS low) WHERE price_usd IS NOT NULL GROUP BY job_id
    ) b USING (job_id)
),
heads AS (
    SELECT job_id, stratum, frozen, row_number() OVER (
        PARTITION BY stratum ORDER BY frozen DESC, sha256($sample_seed || ' ' || job_id), job_id) AS rank
    FROM jobs WHERE cluster_id = job_id
),
strata AS (
    SELECT stratum, count(*)::HUGEINT AS size, (count(*) FILTER (frozen))::HUGEINT AS n_frozen FROM heads GROUP BY stratum
),
-- those without a frozen job, the largest first, have one while the frozen jobs leave room
floors AS (
    SELECT *, sum(size) OVER () AS total,
        CASE WHEN n_frozen > 0 THEN n_frozen
             WHEN row_number() OVER (PARTITION BY n_frozen > 0 ORDER BY size DESC, stratum)
                  <= $jobs_per_month::HUGEINT - sum(n_frozen) OVER () THEN 1 ELSE 0 END AS least
    FROM strata
),
-- what a stratum's exact share has over its floor, times the total so that it is a whole number
weights AS (
    SELECT *, greatest(0, $jobs_per_month::HUGEINT * size - total * least)::HUGEINT AS weight,
        greatest(0, $jobs_per_month::HUGEINT - sum(least) OVER ())::HUGEINT AS spare
    FROM floors
),
shares AS (
    SELECT *, (spare * weight) // greatest(1, sum(weight) OVER ())::HUGEINT AS whole,
        (spare * weight) % greatest(1, sum(weight) OVER ())::HUGEINT AS remainder
    FROM weights
),
quotas AS (
    SELECT stratum, n_frozen,
        CASE WHEN $jobs_per_month IS NULL OR total <= $jobs_per_month THEN size
             ELSE least + whole + CASE WHEN row_number() OVER (ORDER BY remainder DESC, size DESC, stratum)
                                            <= spare - sum(whole) OVER () AND weight > 0 THEN 1 ELSE 0 END
             END::BIGINT AS quota
    FROM shares
)
SELECT j.* EXCLUDE (method, cluster_id, similarity, frozen, stratum),
    CASE WHEN j.cluster_id <> j.job_id AND j.method = 'content' THEN 'duplicate_content'
         WHEN j.cluster_id <> j.job_id THEN 'near_duplicate'
         WHEN h.rank > q.quota THEN 'not_selected' END AS code,
    CASE WHEN j.cluster_id <> j.job_id AND j.method = 'content' THEN 'same as ' || j.cluster_id
         WHEN j.cluster_id <> j.job_id THEN format('like {}, similarity {:.2f}', j.cluster_id, j.similarity)
         ELSE format('stratum {}: rank {}, quota {}', j.stratum, h.rank, q.quota)
              || CASE WHEN j.frozen THEN ', in a freeze'
                      WHEN q.n_frozen > 0 THEN format(', {} of it in a freeze', q.n_frozen) ELSE '' END END AS observed,
    CASE WHEN j.cluster_id <> j.job_id THEN format('similarity under {:.2f} to every earlier job', $min_similarity::DOUBLE)
         ELSE coalesce('at most ' || counted($jobs_per_month, 'job') || ' a month, seed ' || $sample_seed, 'every job')
         END AS threshold
FROM jobs j LEFT JOIN heads h USING (job_id) LEFT JOIN quotas q ON q.stratum = h.stratum
