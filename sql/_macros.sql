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
