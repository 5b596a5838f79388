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
CREATE OR REPLACE MACRO _date_pattern() AS
    '(?i)^(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:[0-9]{4}|[0-9]{2})|(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,? )?(?:[0-9]{1,2}(?:st|nd|rd|th)?[ -]MONTH,?[ -][0-9]{4}|MONTH [0-9]{1,2}(?:st|nd|rd|th)?,? [0-9]{4}))';
CREATE OR REPLACE MACRO _month_pattern() AS '(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?';
CREATE OR REPLACE MACRO _century(y) AS CASE WHEN length(y) = 2 THEN '20' || y ELSE y END;
-- The date in a text of `_date_pattern` as y-m-d.
CREATE OR REPLACE MACRO _date_of(d, day_order) AS
    CASE WHEN regexp_matches(d, '^\d{4}') THEN regexp_replace(d, '[/.]', '-', 'g')
         WHEN regexp_matches(d, '^\d{1,2}[-/.]\d') AND day_order = 'mdy'
         THEN _century(regexp_extract(d, '\d+$')) || '-' || regexp_extract(d, '^\d+') || '-' || regexp_extract(d, '^\d+.(\d+)', 1)
         WHEN regexp_matches(d, '^\d{1,2}[-/.]\d') AND day_order = 'dmy'
         THEN _century(regexp_extract(d, '\d+$')) || '-' || regexp_extract(d, '^\d+.(\d+)', 1) || '-' || regexp_extract(d, '^\d+')
         WHEN regexp_matches(d, '[A-Za-z]{3}')
         THEN regexp_extract(d, '\d{4}$') || '-' || ((strpos('janfebmaraprmayjunjulaugsepoctnovdec',
                  left(lower(regexp_extract(d, '(?i)(?:^|[^a-z])(' || _month_pattern() || ')', 1)), 3)) + 2) // 3)::VARCHAR
              || '-' || regexp_extract(d, '(?:^|[^0-9])(\d{1,2})(?:[^0-9]|$)', 1)
    END;
CREATE OR REPLACE MACRO _hour(h, half) AS
    CASE WHEN half = '' THEN h WHEN h::INTEGER NOT BETWEEN 1 AND 12 THEN NULL
         WHEN half = 'a' THEN (h::INTEGER % 12)::VARCHAR ELSE (h::INTEGER % 12 + 12)::VARCHAR END;
-- Minutes east of Greenwich; null where the text names no zone. The letters are those of RFC 822.
CREATE OR REPLACE MACRO _offset(z) AS
    CASE WHEN z = '' THEN NULL
         WHEN regexp_matches(z, '[+-]')
         THEN (CASE WHEN contains(z, '-') THEN -1 ELSE 1 END) * (regexp_extract(z, '[+-](\d\d)', 1)::INTEGER * 60
              + coalesce(try_cast(regexp_extract(z, '[+-]\d\d:?(\d\d)', 1) AS INTEGER), 0))
         WHEN length(z) = 3 AND z NOT IN ('UTC', 'GMT')
         THEN -60 * (strpos('ECMP', left(z, 1)) + 4 - CASE WHEN z[2] = 'D' THEN 1 ELSE 0 END)
         ELSE 0 END;
CREATE OR REPLACE MACRO _placed(written, minutes, zone) AS
    CASE WHEN minutes IS NULL THEN timezone(zone, written)
         WHEN minutes BETWEEN -900 AND 900 THEN timezone('UTC', written - to_minutes(minutes)) END;
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
         ELSE list_transform(list_transform([trim(regexp_replace(x::VARCHAR, '[\s\p{Z}]+', ' ', 'g'))],
                  lambda t: {day: _date_of(regexp_extract(t, replace(_date_pattern(), 'MONTH', _month_pattern())), day_order),
                             clock: regexp_extract(regexp_replace(t, replace(_date_pattern(), 'MONTH', _month_pattern()), '@'),
                 '^(@)(?:(?:T|,? (?:at )?)([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?(?: ?([ap])\.?m\.?)? ?(Z|UTC?|GMT|[ECMP][SD]T|(?:UTC|GMT)?[+-][0-9]{2}(?::?[0-9]{2})?)?(?: \([^()]*\))?$',
                 ['found', 'h', 'mi', 's', 'f', 'half', 'z'], 'i')}),
              lambda p: CASE WHEN p.clock.found = '@' AND (p.clock.h <> '' OR p.clock.half = '') THEN _placed(
                  try_cast(p.day || CASE WHEN p.clock.h = '' THEN '' ELSE ' ' || _hour(p.clock.h, lower(p.clock.half)) || ':' || p.clock.mi || ':'
                      || CASE WHEN p.clock.s = '' THEN '00' ELSE p.clock.s END
                      || CASE WHEN p.clock.f = '' THEN '' ELSE '.' || left(p.clock.f, 6) END END AS TIMESTAMP),
                  _offset(upper(p.clock.z)), zone) END)[1]
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
