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
-- An amount in US dollars: 1500, 1,500.00, $1,500, 20 USD. A range, another currency or free text is null.
CREATE OR REPLACE MACRO usd(x) AS
    CASE WHEN regexp_full_match(trim(x::VARCHAR), '(?i)(US)?\$?\s*(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s*(USD)?')
         THEN try_cast(regexp_replace(x::VARCHAR, '[^0-9.]', '', 'g') AS DOUBLE) END;
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
-- Text without HTML entities.
CREATE OR REPLACE MACRO plain(x) AS
    replace(replace(replace(replace(replace(replace(x, '&lt;', '<'), '&gt;', '>'), '&quot;', '"'), '&#39;', ''''),
            '&nbsp;', ' '), '&amp;', '&');
