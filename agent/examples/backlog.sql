-- Fills a database of the agent with pushes that wait: as if they had come long ago, and each caller had been told 202.
-- Before: the agent has been started once with its devices, and is stopped. Then, in one connection:
--   CREATE TEMP TABLE wish (pushes INTEGER, at INTEGER);  -- how many, and when they came, in milliseconds since 1970
--   INSERT INTO wish VALUES (1000000, 1790000000000);
-- They are dealt in turn to all devices that the database knows. Callbacks get prints of chance, so none of these pushes
-- is recognised when it comes again, and all have the same body, whose SHA-256 is known; everything else is as the agent
-- writes it. The first start reads every row and writes segments when it stops; starts after that are the ordinary ones.
CREATE TEMP TABLE first AS
SELECT (SELECT coalesce(max(id), 0) FROM push) AS push, (SELECT coalesce(max(seq), 0) FROM event) AS seq;

CREATE TEMP TABLE turn AS
SELECT id AS device, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS devices
FROM device WHERE id > 0;

INSERT INTO push (id, device, at, callback_hash, content_hash, callback, content_type, remote, return_ack, order_key,
                  body_sha256, body)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT pushes FROM wish))
SELECT first.push + i, turn.device, wish.at, random(), random(), 'backlog-' || i || '-' || hex(randomblob(8)),
       'x-application/hl7-v2+er7', 'device://backlog', 2, 'ORD-' || i, x'ef7e608f2637e87dc226e33d54240b24248e36cfbe27acd285353bb9d621e984',
       CAST('MSH|^~\&|LIS|LAB|ANALYZER|LAB|20260101120000||OML^O21^OML_O21|1|P|2.5.1' || char(13)
            || 'PID|1||P1||BACKLOG^PATIENT' || char(13) || 'ORC|NW|ORD-1' || char(13)
            || 'OBR|1|ORD-1||GLU^Glucose' || char(13) || 'NTE|1||' || replace(hex(zeroblob(200)), '0', 'A') AS BLOB)
FROM n CROSS JOIN first CROSS JOIN wish
JOIN turn ON turn.place = i % (SELECT max(devices) FROM turn);

INSERT INTO event (seq, push, device, at, kind, reason, status, answer)
SELECT first.seq + (push.id - first.push), push.id, push.device, push.at, 8, 'device away', 202,
       CAST('queued: device away; push ' || push.id || ' is kept and goes on without you' AS BLOB)
FROM push CROSS JOIN first WHERE push.id > first.push;

-- Nobody needs to be told again.
UPDATE event SET taken = seq WHERE seq = (SELECT max(seq) FROM event);

DROP TABLE turn;
DROP TABLE first;
