-- Macros that the queries and the source definitions share. Sources of the formulas: docs/methodology.md.

-- Wilson score interval at 95 % for x successes of n; null where n is 0.
CREATE OR REPLACE MACRO wilson_centre(x, n) AS (x + 1.959963984540054 ^ 2 / 2) / (n + 1.959963984540054 ^ 2);
CREATE OR REPLACE MACRO wilson_half(x, n) AS
    1.959963984540054 / (n + 1.959963984540054 ^ 2) * sqrt(x * (n - x)::DOUBLE / n + 1.959963984540054 ^ 2 / 4);
CREATE OR REPLACE MACRO wilson_lo(x, n) AS
    CASE WHEN n > 0 AND x = 0 THEN 0.0 WHEN n > 0 THEN wilson_centre(x, n) - wilson_half(x, n) END;
CREATE OR REPLACE MACRO wilson_hi(x, n) AS
    CASE WHEN n > 0 AND x = n THEN 1.0 WHEN n > 0 THEN wilson_centre(x, n) + wilson_half(x, n) END;

-- A share, null where there is nothing to divide by.
CREATE OR REPLACE MACRO share(x, n) AS CASE WHEN n > 0 THEN x::DOUBLE / n END;

-- 97.5 % quantile of Student's t to 1e-9: up to 12 degrees of freedom from a table, then a series in 1 / df.
CREATE OR REPLACE MACRO t975(df) AS
    CASE WHEN df <= 12 THEN
        [12.706204736175, 4.302652729749, 3.182446305284, 2.776445105198, 2.570581835636, 2.446911851145, 2.364624251593,
         2.306004135204, 2.262157162798, 2.228138851986, 2.200985160092, 2.178812829667][df::BIGINT]
    ELSE 1.959963984540054 + 2.37227123 / df + 2.822498622 / df ^ 2 + 2.555848926 / df ^ 3 + 1.589581354 / df ^ 4
        + 0.731287717 / df ^ 5 + 0.658485893 / df ^ 6 - 0.201782038 / df ^ 7 END;

-- A share x of n jobs that belong to c clients, from sums over clients: with d complete jobs of j of one client, dd = sum d²,
-- dj = sum d j, jj = sum j². Variance: c / (c - 1) sum (d - p j)² / n² (Liang & Zeger 1986, of a mean); null with one client.
CREATE OR REPLACE MACRO _cluster_variance(c, n, x, dd, dj, jj) AS
    CASE WHEN c > 1 THEN c / (c - 1)::DOUBLE / n::DOUBLE ^ 2
        * greatest(dd - 2 * (x / n::DOUBLE) * dj + (x / n::DOUBLE) ^ 2 * jj, 0) END;
-- Standard error that takes jobs of one client as alike.
CREATE OR REPLACE MACRO cluster_se(c, n, x, dd, dj, jj) AS sqrt(_cluster_variance(c, n, x, dd, dj, jj));
-- Kish's effective number of items with unequal weights, from the sum of the weights and that of their squares.
CREATE OR REPLACE MACRO kish_n(total, squares) AS CASE WHEN squares > 0 THEN total::DOUBLE ^ 2 / squares END;
-- Effective number of jobs (Korn & Graubard 1998): as many independent jobs would give the error by client, fewer where there are
-- few clients to learn it from, never more than there are. Where all or none are complete the error says nothing; then the jobs
-- of one client count as one.
CREATE OR REPLACE MACRO effective_n(c, n, x, dd, dj, jj) AS
    CASE WHEN c < 2 OR x = 0 OR x = n THEN kish_n(n, jj)
         ELSE least(n, coalesce((x / n::DOUBLE) * (1 - x / n::DOUBLE) * n / (n - 1)
                / nullif(_cluster_variance(c, n, x, dd, dj, jj), 0), n)) * (t975(n - 1) / t975(c - 1)) ^ 2 END;
-- Effective number of jobs behind a product of hazards with Greenwood's sum d / (n (n - d)): as many would give this error for a
-- share (Rothman 1978); those of the first turn where the error is 0.
CREATE OR REPLACE MACRO greenwood_n(open_share, greenwood, n_first) AS
    CASE WHEN greenwood > 0 AND open_share > 0 THEN (1 - open_share) / (open_share * greenwood) ELSE n_first END;

-- The smallest difference of two rates on the same n jobs that is found with 80 % power at the 5 % level, where two models
-- differ on the share psi of the jobs: n = (z √psi + z' √(psi - d²))² / d² (Connor 1987), solved for d; where d would be larger
-- than psi, psi is taken to be d. Null where not even 1 is found. stats/paired.py has the same for arrays.
CREATE OR REPLACE MACRO _gap(n) AS
    (1.959963984540054 * sqrt(n::DOUBLE) + 0.8416212335729143 * sqrt(greatest(n - 1.959963984540054 ^ 2 + 0.8416212335729143 ^ 2, 0)))
    / (n + 0.8416212335729143 ^ 2);
CREATE OR REPLACE MACRO smallest_gap(n, psi) AS
    CASE WHEN n > 3.134 AND _gap(n) * greatest(sqrt(psi), _gap(n)) <= 1 THEN _gap(n) * greatest(sqrt(psi), _gap(n)) END;

-- Difference of two rates on the same jobs, of which n11 are complete under both, n10 and n01 under one, n00 under neither:
-- Newcombe's square-and-add interval (1998, Statistics in Medicine 17:2635, method 10: phi corrected for continuity); null
-- without jobs. stats/paired.py has the same for arrays.
CREATE OR REPLACE MACRO _shrunk(crossed, n) AS CASE WHEN crossed > 0 THEN greatest(crossed - n / 2.0, 0) ELSE crossed END;
CREATE OR REPLACE MACRO _phi(n11, n10, n01, n00) AS
    coalesce(_shrunk((n11 * n00 - n10 * n01)::DOUBLE, n11 + n10 + n01 + n00) / nullif(sqrt((n11 + n10)::DOUBLE * (n01 + n00) * (n11 + n01) * (n10 + n00)), 0), 0);
CREATE OR REPLACE MACRO _root(a, b, phi) AS sqrt(greatest(a ^ 2 - 2 * phi * a * b + b ^ 2, 0));
CREATE OR REPLACE MACRO _paired_lo(n11, n10, n01, n00, n) AS (n10 - n01) / n::DOUBLE - _root(
    (n11 + n10) / n::DOUBLE - wilson_lo(n11 + n10, n), wilson_hi(n11 + n01, n) - (n11 + n01) / n::DOUBLE, _phi(n11, n10, n01, n00));
CREATE OR REPLACE MACRO paired_lo(n11, n10, n01, n00) AS
    CASE WHEN n11 + n10 + n01 + n00 > 0 THEN _paired_lo(n11, n10, n01, n00, n11 + n10 + n01 + n00) END;
CREATE OR REPLACE MACRO paired_hi(n11, n10, n01, n00) AS -paired_lo(n11, n01, n10, n00);
-- The factor that the four counts are made smaller by where the n things (criteria) belong to c clusters (clients): that by which
-- clustering makes the variance of the difference larger; x = n10 - n01, apart = n10 + n01, sums over clusters as above with
-- d = n10 - n01 of a cluster.
CREATE OR REPLACE MACRO paired_scale(c, n, x, apart, dd, dj, jj) AS
    CASE WHEN n = 0 THEN 1
         WHEN c < 2 OR apart = 0 OR abs(x) = n THEN kish_n(n, jj) / n
         ELSE least(1, coalesce((apart / n::DOUBLE - (x / n::DOUBLE) ^ 2) / (n - 1)
                / nullif(_cluster_variance(c, n, x, dd, dj, jj), 0), 1)) * (t975(n - 1) / t975(c - 1)) ^ 2 END;

-- The end of a training cutoff that is stated as YYYY-MM or YYYY-MM-DD: the moment after it, UTC; null for anything else.
CREATE OR REPLACE MACRO cutoff_end(stated) AS timezone('UTC',
    CASE WHEN regexp_full_match(stated, '\d{4}-\d\d') THEN try_strptime(stated, '%Y-%m') + INTERVAL 1 MONTH
         WHEN regexp_full_match(stated, '\d{4}-\d\d-\d\d') THEN try_strptime(stated, '%Y-%m-%d') + INTERVAL 1 DAY END);
-- The band of a price among the amounts where bands begin, as the funnel and what-if name it.
CREATE OR REPLACE MACRO _band(price, edges, below) AS
    CASE WHEN price IS NULL OR NOT isfinite(price) THEN 'unknown'
         WHEN below = 0 THEN 'under ' || dollars(edges[1])
         WHEN below = len(edges) THEN dollars(edges[below]) || ' and over'
         ELSE dollars(edges[below]) || ' to ' || dollars(edges[below + 1]) END;
CREATE OR REPLACE MACRO price_band(price, edges) AS
    _band(price, edges::DOUBLE[], len(list_filter(edges::DOUBLE[], lambda edge: edge <= price)));

-- For source definitions. What cannot be read with certainty becomes null, never a guess.
-- Money as people write it (intake/money.py): {amount, currency}, or null for what is not one certain price; the currency is
-- null where none is written. `mark` declares the decimal mark of the source, '.' or ','; without it 1.500 is unknown.
CREATE OR REPLACE MACRO money(x) AS read_money(x::VARCHAR, ''), (x, mark) AS read_money(x::VARCHAR, mark);
-- An amount in US dollars, for which an amount without a currency is taken. Bare figures, the usual case, need no Python.
CREATE OR REPLACE MACRO _usd(x, mark) AS
    CASE WHEN regexp_full_match(x, '\$?\d{1,9}(\.\d{1,2})?') AND mark <> ','
         THEN try_cast(ltrim(x, '$') AS DOUBLE) ELSE read_usd(x, mark) END;
CREATE OR REPLACE MACRO usd(x) AS _usd(x::VARCHAR, ''), (x, mark) AS _usd(x::VARCHAR, mark);
-- The same where another column states the currency: null unless that is the US dollar and the text says nothing else.
CREATE OR REPLACE MACRO usd_in(x, currency) AS CASE WHEN upper(trim(currency)) IN ('USD', 'US$', '$') THEN _usd(x::VARCHAR, '') END,
    (x, currency, mark) AS CASE WHEN upper(trim(currency)) IN ('USD', 'US$', '$') THEN _usd(x::VARCHAR, mark) END;
-- For sources that write 0 where they mean nothing.
CREATE OR REPLACE MACRO nullif0(x) AS CASE WHEN try_cast(x AS DOUBLE) = 0 THEN NULL ELSE x END;

-- Moments as TIMESTAMPTZ. Without a zone in the text they are in the declared `zone` (UTC); numbers with slashes are read in
-- the declared `day_order` ('mdy', 'dmy') and in none without it. Digits alone: 8 are YYYYMMDD, 9 or 10 seconds, 12 or 13 milliseconds, 15 or 16 microseconds.
CREATE OR REPLACE MACRO _placed(written, minutes, zone) AS
    CASE WHEN minutes IS NULL THEN timezone(zone, written)
         ELSE timezone('UTC', written - to_minutes(minutes)) END;
CREATE OR REPLACE MACRO _moment(x, day_order, zone) AS
    CASE WHEN regexp_full_match(x::VARCHAR, '\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,6})?)?')
         THEN timezone(zone, try_cast(x::VARCHAR AS TIMESTAMP))
         WHEN regexp_full_match(x::VARCHAR, '\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-](0\d|1[0-4])(:[0-5]\d)?)')
         THEN try_cast(x::VARCHAR AS TIMESTAMPTZ)
         WHEN regexp_full_match(x::VARCHAR, '\d+(\.\d+)?')
         THEN CASE WHEN regexp_full_match(x::VARCHAR, '(19|20)\d{6}')
                   THEN timezone(zone, try_strptime(x::VARCHAR, '%Y%m%d'))
                   WHEN regexp_full_match(x::VARCHAR, '\d{9,10}(\.\d+)?') THEN to_timestamp(try_cast(x::VARCHAR AS DOUBLE))
                   WHEN regexp_full_match(x::VARCHAR, '\d{12,13}(\.0+)?') THEN to_timestamp(try_cast(x::VARCHAR AS DOUBLE) / 1000)
                   WHEN regexp_full_match(x::VARCHAR, '\d{15,16}') THEN to_timestamp(try_cast(x::VARCHAR AS DOUBLE) / 1000000) END
         ELSE list_transform([read_moment(x::VARCHAR, day_order)], lambda m: _placed(m.written, m.minutes, zone))[1]
    END;
CREATE OR REPLACE MACRO moment(x) AS _moment(x, NULL::VARCHAR, 'UTC'), (x, day_order) AS _moment(x, day_order, 'UTC'),
    (x, day_order, zone) AS _moment(x, day_order, zone);

-- An id for rows that have none, of the parts that tell one post from another; null where all of them are empty.
CREATE OR REPLACE MACRO _content_key(parts) AS
    CASE WHEN len(list_filter(parts, lambda part: part IS NOT NULL AND trim(part) <> '')) > 0
         THEN 'c-' || left(sha256(to_json(list_transform(parts, lambda part: coalesce(trim(part), '')))::VARCHAR), 24) END;
CREATE OR REPLACE MACRO content_key(a) AS _content_key([a::VARCHAR]), (a, b) AS _content_key([a::VARCHAR, b::VARCHAR]),
    (a, b, c) AS _content_key([a::VARCHAR, b::VARCHAR, c::VARCHAR]),
    (a, b, c, d) AS _content_key([a::VARCHAR, b::VARCHAR, c::VARCHAR, d::VARCHAR]);

-- The text without blanks at its ends, null where nothing is left; trim alone takes longer over a post than reading it.
CREATE OR REPLACE MACRO stripped(x) AS
    nullif(CASE WHEN strlen(x) = length(x) AND NOT (x LIKE ' %' OR x LIKE '% ') THEN x ELSE trim(x) END, '');
CREATE OR REPLACE MACRO truth(x) AS
    CASE WHEN lower(trim(x::VARCHAR)) IN ('true', 't', 'yes', 'y', '1', '1.0') THEN true
         WHEN lower(trim(x::VARCHAR)) IN ('false', 'f', 'no', 'n', '0', '0.0') THEN false END;
-- A list of texts: a JSON array, or parts between semicolons.
CREATE OR REPLACE MACRO texts(x) AS
    CASE WHEN x IS NULL THEN NULL
         WHEN json_valid(x) AND json_type(x) = 'ARRAY' THEN from_json(x, '["VARCHAR"]')
         ELSE list_filter(list_transform(string_split(x, ';'), lambda part: trim(part)), lambda part: part <> '') END;
CREATE OR REPLACE MACRO job_type(x) AS
    CASE WHEN regexp_full_match(trim(x), '(?i)fixed([ _-]?(price|budget))?') THEN 'fixed'
         WHEN regexp_full_match(trim(x), '(?i)hourly') THEN 'hourly'
         ELSE lower(nullif(trim(x), '')) END;
-- Text without HTML: tags gone, blocks on lines of their own, entities decoded once, marks of search engines (H^found^H) removed.
CREATE OR REPLACE MACRO plain(x) AS
    CASE WHEN contains(x, '<') OR contains(x, '&') OR contains(x, 'H^') THEN html_to_text(x) ELSE x END;

-- For what rules found and asked for: $500, $499.99, $1,500; four digits after the point only where two would round.
CREATE OR REPLACE MACRO dollars(x) AS
    CASE WHEN NOT isfinite(x) THEN NULL WHEN x < 0 THEN '-' ELSE '' END || '$' ||
    CASE WHEN abs(x) >= 1e12 THEN format('{:.3g}', abs(x)::DOUBLE)
         WHEN abs(x) = round(abs(x)) THEN format('{:,.0f}', abs(x)::DOUBLE)
         WHEN abs(abs(x) - round(abs(x), 2)) < 1e-6 THEN format('{:,.2f}', abs(x)::DOUBLE)
         ELSE format('{:,.4f}', abs(x)::DOUBLE) END;
-- 1 milestone, 2 milestones.
CREATE OR REPLACE MACRO counted(n, noun) AS format('{:,}', n::BIGINT) || ' ' || noun || CASE WHEN n = 1 THEN '' ELSE 's' END;
