-- A little of all that SQLite has, in memory. It prints the same wherever it runs.

.bail on
.headers on
.mode list
PRAGMA temp_store = memory;
CREATE TABLE item (
    id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, code TEXT NOT NULL, price INTEGER CHECK (price >= 0), weight REAL
);
BEGIN;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO item
SELECT i, i * 7919 % 997, printf('%08x', i * 2654435761 % 4294967296), i / 997 % 13 * 31, i / 8.0 FROM n;
COMMIT;
CREATE INDEX item_by_owner ON item (owner, price);
CREATE UNIQUE INDEX item_by_code ON item (code);
ANALYZE;
SELECT count(*), sum(price), avg(weight), min(code), max(code) FROM item;
SELECT owner, count(*) AS items, total(weight) FROM item GROUP BY owner HAVING items > 60 ORDER BY owner LIMIT 5;
EXPLAIN QUERY PLAN SELECT * FROM item WHERE owner = 5 AND price < 10;

-- joins
CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
INSERT INTO owner SELECT DISTINCT owner, 'owner ' || owner FROM item WHERE owner % 3 = 0;
SELECT o.name, count(i.id), sum(i.price) FROM owner o JOIN item i ON i.owner = o.id
GROUP BY o.id ORDER BY 3 DESC, 1 LIMIT 5;
SELECT count(*) FROM item i LEFT JOIN owner o ON o.id = i.owner WHERE o.id IS NULL;
SELECT count(*), sum(a.id - b.id) FROM item a JOIN item b ON b.owner = a.owner AND b.price = a.price AND b.id < a.id;

-- window functions
SELECT id, price, rank() OVER w, sum(price) OVER (w ROWS 2 PRECEDING), lag(code) OVER w, ntile(4) OVER w
FROM item WHERE owner = 7 WINDOW w AS (ORDER BY price DESC, id) ORDER BY price DESC, id LIMIT 6;
SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY owner ORDER BY weight) AS r FROM item);

-- JSON, text, dates, numbers
SELECT json_group_array(json_object('id', id, 'code', code)) FROM (SELECT * FROM item WHERE id % 20000 = 0);
SELECT value ->> '$.b[1]', json_type(value, '$.a') FROM json_each('[{"a": 1, "b": [2, 3]}, {"a": null, "b": "x"}]');
SELECT group_concat(name, '+') FROM (SELECT name FROM owner ORDER BY name DESC LIMIT 4);
SELECT quote('it''s'), upper('abc'), substr('hello', 2, 3), instr('hello', 'l'), hex(zeroblob(3));
SELECT unicode('€'), length('äö');
SELECT date('2000-02-28', '+2 days'), strftime('%Y-%W-%j', '2024-12-31'), julianday('2000-01-01');
SELECT 1 / 3, 1.0 / 3, 1e300 * 1e10, round(2.567, 2), 9223372036854775807 + 1, 0.1 + 0.2, sqrt(2), pow(2, 0.5);
SELECT CASE WHEN 'abc' GLOB 'a*' THEN 'glob' END, 'ABC' LIKE 'a_c', coalesce(NULL, 5), typeof(x'00'), 7 % 3, -7 / 2;

-- changes
CREATE TABLE log (what TEXT);
CREATE TRIGGER note AFTER UPDATE OF price ON item WHEN new.id < 4 BEGIN
    INSERT INTO log VALUES (old.id || ': ' || old.price || ' -> ' || new.price);
END;
UPDATE item SET price = price + 1 WHERE owner % 2 = 0;
UPDATE item SET price = price + 1 WHERE id <= 3;
SELECT * FROM log ORDER BY 1;
SAVEPOINT here;
DELETE FROM item WHERE owner < 500;
SELECT changes(), count(*) FROM item;
ROLLBACK TO here;
RELEASE here;
INSERT INTO item VALUES (1, 0, 'again', 5, 0) ON CONFLICT (id) DO UPDATE SET code = excluded.code || '!'
RETURNING id, code;
CREATE VIEW cheap AS SELECT id, price FROM item WHERE price < 3;
SELECT count(*) FROM cheap;
CREATE VIRTUAL TABLE words USING fts5(text);
INSERT INTO words VALUES ('the quick brown fox'), ('a lazy dog'), ('quick quick');
SELECT rowid, highlight(words, 0, '[', ']') FROM words WHERE words MATCH 'quick' ORDER BY rowid;
PRAGMA integrity_check;
.sha3sum
.mode box
SELECT id, owner, code, weight FROM item ORDER BY code LIMIT 4;
.mode json
SELECT id, weight FROM item WHERE id < 3;
.mode insert item
SELECT * FROM item LIMIT 2;
.dump log
.exit 5
